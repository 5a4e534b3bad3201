"""Signatures as Standard Webhooks has them, made by its library."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from standardwebhooks import Webhook

from fulgurite.errors import DeliveryError, InvalidRequestError

_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)  # what the specification asks for
_MAX_FILE = 16_384

# Signed is `id.timestamp.body`: with a full stop in the id, one signature would fit two messages.
_ID = re.compile(r"[!-\-/-~]{1,200}")


def secrets_in(path: Path) -> tuple[str, ...]:
    """The secrets of an endpoint, the newest first.

    Raises DeliveryError, since a mended file serves the next try. It tells the file and the
    line, and nothing of what is in it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE)
    except OSError as error:
        raise DeliveryError(f"cannot read the webhook secret {path}: {error.strerror}") from None
    return secrets_of(content, path)


def secrets_of(content: bytes, path: Path) -> tuple[str, ...]:
    """What `secrets_in` makes of a file; lines without anything do not count."""
    secrets: list[str] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not (secret := line.strip().decode("latin-1")):
            continue
        if not _is_secret(secret):
            raise DeliveryError(
                f"line {number} of {path} is no webhook secret: whsec_ and then 24 to 64 bytes "
                'in base64, for example from echo "whsec_$(openssl rand -base64 32)"'
            )
        secrets.append(secret)
    if not secrets:
        raise DeliveryError(f"{path} is empty: put a whsec_… secret on its first line")
    return tuple(secrets)


def signed_headers(
    secrets: Sequence[str], message_id: str, at: datetime, body: bytes
) -> dict[str, str]:
    """The headers that prove where `body` comes from: a signature for each of the secrets.

    A receiver that knows any one of them accepts, which is what makes rotation safe. `at`
    is aware and in UTC. Raises InvalidRequestError for an id or a body that cannot be signed.
    """
    if not _ID.fullmatch(message_id):
        raise InvalidRequestError("a webhook's id is 1 to 200 printable characters, no full stop")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("a webhook's body is a JSON text, in UTF-8") from None
    signatures = [Webhook(secret).sign(message_id, at, text) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _is_secret(text: str) -> bool:
    """In the one spelling that every library reads alike.

    The library here skips what is no base64 and so weakens what is mistyped; Python's own
    decoder takes padding without end, which others refuse.
    """
    if not text.startswith(_PREFIX):
        return False
    encoded = text.removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:  # not ASCII, or not base64
        return False
    return len(raw) in _SECRET_BYTES and base64.b64encode(raw).decode() == encoded
