"""The transaction by which one end can close a channel alone, as it would be at this moment."""

from __future__ import annotations

from dataclasses import dataclass

from devnet.simulated.channels import Channel, PendingHtlc
from devnet.simulated.onchain.transactions import (
    HtlcTerms,
    Outpoint,
    Output,
    OutputKind,
    Spend,
    Transaction,
)
from devnet.simulated.onchain.weights import commitment_weight, fee_sat

# What lnd agrees on when a chain without fees asks for no more: children pay for more.
COMMITMENT_SAT_PER_KW = 253
ANCHOR_SAT = 330

# What is smaller has no output, and goes to the miners.
DUST_SAT = 354

# How long the end that publishes waits for its own balance; the other waits for one block.
CSV_BLOCKS = 4
TO_REMOTE_CSV_BLOCKS = 1


@dataclass(frozen=True)
class Commitment:
    """`holder` can publish it. HTLCs without an output of their own are in none of the maps."""

    holder: str
    transaction: Transaction
    balances_sat: dict[str, int]
    outputs: dict[str, Outpoint]
    anchors: dict[str, Outpoint]
    htlcs: dict[PendingHtlc, Outpoint]

    @property
    def fee_sat(self) -> int:
        return self.transaction.fee_sat


def output_count(channel: Channel) -> int:
    """How many HTLCs have an output of their own."""
    return sum(not _is_dust(htlc.amount_msat // 1_000) for htlc in channel.pending.values())


def commitment_fee_sat(channel: Channel) -> int:
    """What the opener pays for it: the more, the more HTLCs are pending."""
    return fee_sat(COMMITMENT_SAT_PER_KW, commitment_weight(output_count(channel)))


def shown_sat(channel: Channel, node: str) -> int:
    """A node's balance as lnd shows it: the opener's without its commitment's costs."""
    balance_sat = channel.balances_msat[node] // 1_000
    if node == channel.opener and channel.is_funded:
        return max(0, balance_sat - commitment_fee_sat(channel) - 2 * ANCHOR_SAT)
    return balance_sat


def commitment_of(channel: Channel, holder: str, *, label: str = "") -> Commitment:
    """The commitment that `holder` has of a channel, ready to be published."""
    htlcs = [h for h in channel.pending.values() if not _is_dust(h.amount_msat // 1_000)]
    balances_sat = {node: shown_sat(channel, node) for node in (channel.opener, channel.peer)}
    paid_out = [node for node, balance_sat in balances_sat.items() if not _is_dust(balance_sat)]
    anchored = list(balances_sat) if htlcs else paid_out

    planned: list[tuple[Output, str | PendingHtlc]] = [
        *((_balance(node, holder, balances_sat[node]), node) for node in paid_out),
        *((Output(OutputKind.ANCHOR, node, ANCHOR_SAT), node) for node in anchored),
        *((_htlc(htlc), htlc) for htlc in htlcs),
    ]
    planned.sort(key=lambda plan: plan[0].amount_sat)  # BIP 69, as far as it matters
    outputs = tuple(output for output, _ in planned)
    transaction = Transaction(
        publisher=holder,
        label=label,
        spends=(Spend(channel.funding, holder),),
        draws=(),
        outputs=outputs,
        fee_sat=channel.capacity_msat // 1_000 - sum(output.amount_sat for output in outputs),
        weight=commitment_weight(len(htlcs)),
    )
    places = {
        (output.kind is OutputKind.ANCHOR, whose): transaction.outpoint(index)
        for index, (output, whose) in enumerate(planned)
    }
    return Commitment(
        holder,
        transaction,
        balances_sat,
        outputs={node: places[False, node] for node in paid_out},
        anchors={node: places[True, node] for node in anchored},
        htlcs={htlc: places[False, htlc] for htlc in htlcs},
    )


def _is_dust(amount_sat: int) -> bool:
    return amount_sat < DUST_SAT


def _balance(node: str, holder: str, amount_sat: int) -> Output:
    if node == holder:
        return Output(OutputKind.TO_LOCAL, node, amount_sat, CSV_BLOCKS)
    return Output(OutputKind.TO_REMOTE, node, amount_sat, TO_REMOTE_CSV_BLOCKS)


def _htlc(htlc: PendingHtlc) -> Output:
    terms = HtlcTerms(
        htlc.sender, htlc.receiver, htlc.payment_hash, htlc.amount_msat, htlc.expiry_height
    )
    amount_sat = htlc.amount_msat // 1_000
    # With anchors, everything but the anchors themselves is locked for one block at least.
    return Output(OutputKind.HTLC, htlc.sender, amount_sat, TO_REMOTE_CSV_BLOCKS, terms)
