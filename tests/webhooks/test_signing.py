"""Signatures that the library verifies, from secrets that live in a file."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from devnet.receiver import is_verified, new_secret
from fulgurite.errors import DeliveryError, InvalidRequestError
from nodes.webhooks.signing import secrets_in, signed_headers

BODY = b'{"type":"invoice.settled"}'
SECRET = new_secret()


def test_every_secret_of_a_file_verifies_and_no_other() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers((new, old), "settled_1", datetime.now(UTC), BODY)
    for secret in (new, old):
        assert Webhook(secret).verify(BODY, headers) == {"type": "invoice.settled"}
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


@given(message_id=st.from_regex(r"[a-z][a-z0-9_-]{5,60}", fullmatch=True), text=st.text())
def test_whatever_is_signed_verifies_until_a_part_of_it_changes(message_id: str, text: str) -> None:
    body = text.encode(errors="replace")
    now = datetime.now(UTC)
    headers = signed_headers((SECRET,), message_id, now, body)
    assert is_verified((SECRET,), headers, body)
    assert not is_verified((SECRET,), headers, body + b" ")
    assert not is_verified((SECRET,), headers | {"webhook-id": f"{message_id}_"}, body)
    later = str(int(now.timestamp()) + 1)
    assert not is_verified((SECRET,), headers | {"webhook-timestamp": later}, body)


def test_a_signature_that_is_old_is_refused_by_receivers() -> None:
    then = datetime.now(UTC) - timedelta(minutes=6)
    assert not is_verified((SECRET,), signed_headers((SECRET,), "settled_1", then, BODY), BODY)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\r\nb", "ä", "a" * 201])
def test_an_id_that_cannot_be_signed_is_refused(message_id: str) -> None:
    with pytest.raises(InvalidRequestError):
        signed_headers((SECRET,), message_id, datetime.now(UTC), BODY)


def test_a_body_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        signed_headers((SECRET,), "settled_1", datetime.now(UTC), b"\xff")


def test_a_file_gives_its_secrets_in_order_without_empty_lines(tmp_path: Path) -> None:
    new, old = new_secret(), new_secret()
    path = tmp_path / "secret"
    path.write_text(f"\n{new}\r\n\n  {old}  ")
    assert secrets_in(path) == (new, old)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\n \n", "is empty", id="blank lines"),
        pytest.param(b"\xff\xfe\x00", "line 1", id="binary"),
        pytest.param(b"s3cret-s3cret-s3cret-s3cret-s3cret", "line 1", id="no prefix"),
        pytest.param(b"whsec_", "line 1", id="prefix alone"),
        pytest.param(b"whsec_czNjcmV0", "line 1", id="6 bytes"),
        pytest.param(b"whsec_" + b"s3cr" * 22, "line 1", id="66 bytes"),
        pytest.param(SECRET.encode() + b"\nwhsec_!!" + b"s3cretXX" * 5, "line 2", id="no base64"),
        pytest.param(b"whsec_" + b"s3cr" * 8 + b"====", "line 1", id="padding"),
        pytest.param(b"# s3cret of the shop\n" + SECRET.encode(), "line 1", id="comment"),
    ],
)
def test_a_file_without_a_proper_secret_says_so_and_not_what_it_holds(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(DeliveryError, match=says) as told:
        secrets_in(path)
    assert "s3cr" not in str(told.value)
    assert SECRET not in str(told.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="No such file"):
        secrets_in(tmp_path / "missing")
    with pytest.raises(DeliveryError, match="Is a directory"):
        secrets_in(tmp_path)
    if os.geteuid() != 0:  # root may read everything
        closed = tmp_path / "closed"
        closed.touch(mode=0)
        with pytest.raises(DeliveryError, match="Permission denied"):
            secrets_in(closed)
