"""Static channel backups: opaque to everybody but the node that wrote them."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from devnet.simulated.closing.closures import Closures
from devnet.simulated.closing.messages import channel_point
from devnet.simulated.errors import RpcError
from devnet.simulated.onchain.transactions import Outpoint
from devnet.simulated.openings import Openings
from protos.lnrpc import lightning_pb2

# lnd writes 24 random bytes before what it has encrypted: no two exports are alike.
_NONCE_BYTES = 24
_CIPHER_NONCE_BYTES = 12
_HEADER_BYTES = 5


class ChannelBackups:
    """Writes and reads the backups of one node, by a key that only it has."""

    def __init__(self, node: str, closures: Closures, openings: Openings) -> None:
        self._node = node
        self._closures = closures
        self._openings = openings
        self._cipher = ChaCha20Poly1305(ChaCha20Poly1305.generate_key())

    def export(self) -> lightning_pb2.ChanBackupSnapshot:
        """Every channel that is not closed for good, the pending ones included."""
        funded = [
            Outpoint(each.funding_txid, 0) for each in self._openings.pending(self._node)
        ] + self._closures.unclosed()
        points = [channel_point(each) for each in funded]
        return lightning_pb2.ChanBackupSnapshot(
            single_chan_backups=lightning_pb2.ChannelBackups(
                chan_backups=[
                    lightning_pb2.ChannelBackup(chan_point=point, chan_backup=self._pack([each]))
                    for point, each in zip(points, funded, strict=True)
                ]
            ),
            multi_chan_backup=lightning_pb2.MultiChanBackup(
                chan_points=points, multi_chan_backup=self._pack(funded)
            ),
        )

    def verify(
        self, snapshot: lightning_pb2.ChanBackupSnapshot
    ) -> lightning_pb2.VerifyChanBackupResponse:
        """The channels in a backup; RpcError in lnd's words when it is not one of this node's."""
        single, multi = (
            snapshot.HasField("single_chan_backups"),
            snapshot.HasField("multi_chan_backup"),
        )
        if single and multi:
            raise RpcError(
                "either a Single or Multi channel backup must be specified, but not both"
            )
        if multi:
            packed = snapshot.multi_chan_backup.multi_chan_backup
            return _verified(self._unpack(packed, "multi"))
        if not single:
            raise RpcError("either a Single or Multi channel backup must be specified")
        backups = snapshot.single_chan_backups.chan_backups
        if len(backups) != 1:
            raise RpcError("only one Single is accepted at a time")
        return _verified(self._unpack(backups[0].chan_backup, "single"))

    def _pack(self, funded: list[Outpoint]) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        header = bytes(1) + len(funded).to_bytes(4)  # a version, and how many there are
        text = header + "\n".join(str(each) for each in funded).encode()
        return nonce + self._cipher.encrypt(nonce[:_CIPHER_NONCE_BYTES], text, None)

    def _unpack(self, packed: bytes, kind: str) -> list[str]:
        if len(packed) < _NONCE_BYTES:
            raise RpcError(
                f"invalid {kind} channel backup: payload size too small, must be at least "
                f"{_NONCE_BYTES} bytes"
            )
        nonce, ciphered = packed[:_CIPHER_NONCE_BYTES], packed[_NONCE_BYTES:]
        try:
            text = self._cipher.decrypt(nonce, ciphered, None)
        except InvalidTag as error:
            raise RpcError(
                f"invalid {kind} channel backup: chacha20poly1305: message authentication failed"
            ) from error
        return text[_HEADER_BYTES:].decode().splitlines()


def _verified(points: list[str]) -> lightning_pb2.VerifyChanBackupResponse:
    return lightning_pb2.VerifyChanBackupResponse(chan_points=points)
