"""Closing a channel with both ends' consent: balances are paid out, and the opener pays."""

from __future__ import annotations

from dataclasses import dataclass

from devnet.simulated.channels import Channel
from devnet.simulated.closing.commitments import shown_sat
from devnet.simulated.errors import RpcError
from devnet.simulated.onchain.fees import Fees
from devnet.simulated.onchain.transactions import Output, OutputKind, Spend, Transaction
from devnet.simulated.onchain.weights import COOPERATIVE_WEIGHT, RELAY_SAT_PER_KW, fee_sat

# What lnd aims at where nobody names a fee rate or a target.
_CONF_TARGET_BLOCKS = 6

# Less than this is no output, and goes to the miners.
_DUST_SAT = 330


@dataclass(frozen=True)
class Terms:
    """How a close shall be: the fee rate, and where our own part goes; "" is our wallet."""

    sat_per_kw: int
    foreign_address: str = ""


def fee_rate(fees: Fees, sat_per_vbyte: int, target_conf: int) -> int:
    """The rate that a request means; RpcError when it means two."""
    if sat_per_vbyte and target_conf:
        raise RpcError("only FeeRate or ConfTarget should be set for fee estimates")
    if sat_per_vbyte:
        return max(RELAY_SAT_PER_KW, sat_per_vbyte * 250)
    return fees.estimate_sat_per_kw(target_conf or _CONF_TARGET_BLOCKS)


def cooperative_close(channel: Channel, closer: str, terms: Terms) -> Transaction:
    """The transaction that both ends sign. It spends what a commitment would have cost too."""
    fee = fee_sat(terms.sat_per_kw, COOPERATIVE_WEIGHT)
    amounts_sat = {node: channel.balances_msat[node] // 1_000 for node in channel.balances_msat}
    if amounts_sat[channel.opener] < fee:
        raise RpcError(
            f"unable to pay the close fee of {fee} sat out of {shown_sat(channel, channel.opener)}"
        )
    amounts_sat[channel.opener] -= fee
    outputs = tuple(
        Output(
            OutputKind.FOREIGN if node == closer and terms.foreign_address else OutputKind.WALLET,
            node,
            amount_sat,
        )
        for node, amount_sat in sorted(amounts_sat.items(), key=lambda item: item[1])
        if amount_sat >= _DUST_SAT
    )
    return Transaction(
        publisher=closer,
        label=f"0:closechannel:shortchanid-{channel.channel_id}",
        spends=(Spend(channel.funding, closer),),
        draws=(),
        outputs=outputs,
        fee_sat=channel.capacity_msat // 1_000 - sum(output.amount_sat for output in outputs),
        weight=COOPERATIVE_WEIGHT,
    )
