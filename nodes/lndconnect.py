"""`lndconnect://host:port?cert=…&macaroon=…`, the form in which LND users pass a node on.

The URI holds a credential, so it lives in a file and is never an argument or a variable.
"""

from __future__ import annotations

import ssl
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from fulgurite.errors import CredentialError


@dataclass(frozen=True)
class LndConnect:
    """The parts of the URI: where, the certificate in PEM (None: a public one), the macaroon."""

    address: str
    certificate_pem: bytes | None
    macaroon: bytes = field(repr=False)


def read_lndconnect(uri: str) -> LndConnect:
    """Raises CredentialError, without quoting the URI."""
    no_uri = CredentialError(
        "this is no lndconnect URI: it looks like lndconnect://host:port?cert=…&macaroon=…"
    )
    try:
        parts = urlsplit(uri.strip())
        query = parse_qs(parts.query)
        macaroon = _decode(query["macaroon"][0])
        der = _decode(query["cert"][0]) if "cert" in query else None
        port = parts.port or 10009
    except (KeyError, ValueError):
        raise no_uri from None
    if parts.scheme != "lndconnect" or not parts.hostname:
        raise no_uri
    return LndConnect(
        address=f"{parts.hostname}:{port}",
        certificate_pem=ssl.DER_cert_to_PEM_cert(der).encode() if der else None,
        macaroon=macaroon,
    )


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
