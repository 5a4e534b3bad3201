"""Secrets that must be durable: sealed to the deployment's key before they leave a process.

A sealed box (libsodium: X25519, XSalsa20-Poly1305) is made with the public half alone, so
any client can hand over a keysend preimage; only who holds the private half, the workers
and those who may see proofs of payment, can open one.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from typing import Annotated

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from pydantic import StringConstraints

from fulgurite.errors import InvalidRequestError
from fulgurite.identity import Preimage

# 32 bytes of preimage and 48 of libsodium's overhead, in base64.
Sealed = Annotated[str, StringConstraints(pattern=r"^sealed1:[A-Za-z0-9+/]{107}=$", strict=True)]

_PREFIX = "sealed1:"


class SealingKey:
    """The public half: seals. `text` is 64 hex characters, safe to publish."""

    def __init__(self, text: str) -> None:
        try:
            self._key = PublicKey(bytes.fromhex(text.strip()))
        except (CryptoError, ValueError, TypeError) as error:
            raise InvalidRequestError("a sealing key is 64 hex characters") from error

    @property
    def text(self) -> str:
        return bytes(self._key).hex()

    def seal(self, preimage: Preimage) -> Sealed:
        return _PREFIX + b64encode(SealedBox(self._key).encrypt(preimage.reveal())).decode()


class UnsealingKey:
    """The private half: opens. `text` is 64 hex characters and stays in its file."""

    def __init__(self, text: str) -> None:
        try:
            self._key = PrivateKey(bytes.fromhex(text.strip()))
        except (CryptoError, ValueError, TypeError):
            # Without the cause: its message may quote the key.
            raise InvalidRequestError("an unsealing key is 64 hex characters") from None

    @classmethod
    def generate(cls) -> UnsealingKey:
        return cls(bytes(PrivateKey.generate()).hex())

    @property
    def sealing_key(self) -> SealingKey:
        return SealingKey(bytes(self._key.public_key).hex())

    def secret_text(self) -> str:
        """For writing the key file, and nothing else."""
        return bytes(self._key).hex()

    def preimage_of(self, node: str, key: str) -> Preimage:
        """The preimage of the invoice that a caller's key stands for on a node: always the same.

        So a repeated call makes the same invoice, also when Temporal has forgotten the first,
        and a crash between LND's invoice and its answer leaves nothing behind. Never the same
        on two nodes: once one of them has shown it, anybody on the way could take the other's.
        """
        label = f"fulgurite/invoice/1/{node}/{key}".encode()
        return Preimage(hmac.digest(bytes(self._key), label, "sha256"))

    def preimage_of_rebalance(self, node: str, identity: str, number: int) -> Preimage:
        """The preimage of the invoice that a rebalance pays to its own node, attempt by attempt.

        Always the same, so that what an attempt came to is found again after anything.
        """
        label = f"fulgurite/rebalance/1/{node}/{identity}/{number}".encode()
        return Preimage(hmac.digest(bytes(self._key), label, "sha256"))

    def open(self, sealed: Sealed) -> Preimage:
        """Raises InvalidRequestError when it was sealed to another key or altered."""
        try:
            return Preimage(SealedBox(self._key).decrypt(b64decode(sealed.removeprefix(_PREFIX))))
        except (CryptoError, ValueError):
            raise InvalidRequestError(
                "this preimage was sealed to another key: seal it to the workers' "
                "(`fulgurite key show`)"
            ) from None

    def __repr__(self) -> str:
        return "UnsealingKey(secret)"
