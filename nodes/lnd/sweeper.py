"""What LND's sweeper holds: outputs of closing transactions that are on their way back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fulgurite.channels.closing import CloseType, OutputKind
from fulgurite.identity import Outpoint, Txid
from protos.walletrpc import walletkit_pb2

_WITNESSES = {number: name for name, number in walletkit_pb2.WitnessType.items()}


@dataclass(frozen=True)
class Offered:
    """An output that LND sweeps, or will. What it says of an HTLC here is true of the chain.

    `close_type` is what the way of spending it gives away: whose commitment was confirmed.
    """

    outpoint: Outpoint
    kind: OutputKind
    amount_sat: int
    deadline_height: int = 0
    close_type: CloseType | None = None


class Offers:
    """All that the sweeper holds of closing transactions, by these.

    The wallet's own coins, and what justice takes, are passed over.
    """

    def __init__(self, sweeps: Iterable[walletkit_pb2.PendingSweep] = ()) -> None:
        self._by_txid: defaultdict[Txid, dict[Outpoint, Offered]] = defaultdict(dict)
        for each in sweeps:
            witness = _WITNESSES.get(each.witness_type, "")
            if kind := _kind(witness):
                txid = Txid(each.outpoint.txid_str)
                outpoint = Outpoint(f"{txid}:{each.outpoint.output_index}")
                self._by_txid[txid][outpoint] = Offered(
                    outpoint=outpoint,
                    kind=kind,
                    amount_sat=each.amount_sat,
                    deadline_height=each.deadline_height,
                    close_type=_close_type(witness),
                )

    def __iter__(self) -> Iterator[Offered]:
        for outputs in self._by_txid.values():
            yield from outputs.values()

    def of(self, txid: Txid) -> list[Offered]:
        """Outputs of one transaction."""
        return list(self._by_txid.get(txid, {}).values())

    def find(self, outpoint: Outpoint) -> Offered | None:
        return self._by_txid.get(outpoint.txid, {}).get(outpoint)


def _kind(witness: str) -> OutputKind | None:
    """By LND's name of how it is spent; it has some forty, and they are made of these parts."""
    if "REVOKE" in witness:
        return None
    if "ANCHOR" in witness:
        return OutputKind.ANCHOR
    # Offered and accepted by us: what was offered goes out.
    if "OFFERED" in witness:
        return OutputKind.OUTGOING_HTLC
    if "ACCEPTED" in witness:
        return OutputKind.INCOMING_HTLC
    return OutputKind.COMMITMENT if "COMMIT" in witness else None


def _close_type(witness: str) -> CloseType | None:
    if "SECOND_LEVEL" in witness or "TIME_LOCK" in witness or "LOCAL" in witness:
        return CloseType.LOCAL_FORCE
    if "REMOTE" in witness or "NO_DELAY" in witness:
        return CloseType.REMOTE_FORCE
    return None
