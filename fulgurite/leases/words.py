"""A lease in words, for those who watch it and those who must decide."""

from __future__ import annotations

from fulgurite.chain.pace import in_blocks
from fulgurite.channels.closing import ClosePhase
from fulgurite.leases.market import OVER, AccountState, LeasedChannel
from fulgurite.leases.pricing import percent_a_year, premium_sat
from fulgurite.leases.progress import LeaseProgress
from fulgurite.leases.receipts import LeaseCost
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import LeaseState


def terms(request: LeaseRequest) -> str:
    """What is bid, in a line."""
    rate, blocks = request.max_rate_ppb, request.duration_blocks
    premium = premium_sat(request.amount_sat, rate, blocks)
    return (
        f"{request.amount_sat:,} sat inbound for {in_blocks(blocks)} at up to {rate:,} ppb a "
        f"block: {premium:,} sat, {percent_a_year(rate):.2f} % a year"
    )


def details(lease: LeaseProgress, request: LeaseRequest) -> str:
    """Markdown for the Temporal UI: where it stands, what it costs, how it came there."""
    lines = [f"### {lease.state}", f"`{request.key}` for **{request.node}**", ""]
    if lease.state is LeaseState.AWAITING_APPROVAL:
        lines += ["**A person is asked: update `approve` or `reject`.**", ""]
    lines.append(f"- {terms(request)}")
    if lease.quote is not None:
        quote = lease.quote
        lines.append(
            f"- at most {quote.cost_sat:,} sat: premium {quote.premium_sat:,}, execution "
            f"{quote.execution_fee_sat:,}, chain {quote.chain_fee_sat:,}"
        )
        if quote.next_batch_sat_per_vbyte > request.max_batch_fee_sat_per_vbyte:
            lines.append(
                f"- **the next batch is to pay {quote.next_batch_sat_per_vbyte} sat/vB, and the "
                f"bid allows {request.max_batch_fee_sat_per_vbyte}**"
            )
        if not quote.market_open:
            lines.append("- **bids of this duration are taken, and not matched yet**")
    lines += _of_account(lease)
    if lease.bid is not None:
        bid = lease.bid
        until = "" if bid.state in OVER else f", until {lease.deadline(request).isoformat()}"
        lines.append(f"- bid `{bid.nonce[:16]}…` is {bid.state}{until}")
    if not lease.connected and lease.state not in {LeaseState.LEASED, LeaseState.QUOTING}:
        lines.append("- **poold is not connected with its auctioneer**")
    lines += [_of_channel(each, lease) for each in lease.channels.values()]
    if lease.channels:
        lines.append(f"- it has cost {LeaseCost.of(lease.channels.values()).total_sat:,} sat")
    if lease.because:
        lines.append(f"- {lease.because}")
    return "\n".join([*lines, "", *(f"- {line}" for line in lease.timeline)])


def _of_account(lease: LeaseProgress) -> list[str]:
    account = lease.account
    if account is None or lease.tip is None:
        return []
    left = account.expiry_height - lease.tip.height
    lasts = f"expires in {in_blocks(left)}" if left > 0 else "**has expired**"
    if account.state is AccountState.EXPIRED:
        lasts = "**has expired: nothing of it is matched any more**"
    money = f"{account.value_sat:,} sat, {account.available_sat:,} free"
    return [f"- account `{account.key[:16]}…` is {account.state}: {money}, {lasts}"]


def _of_channel(channel: LeasedChannel, lease: LeaseProgress) -> str:
    height = lease.tip.height if lease.tip else 0
    line = (
        f"- `{channel.channel_point[:16]}…` {channel.amount_sat:,} sat from "
        f"`{channel.peer[:16]}…` at {channel.rate_ppb:,} ppb, {channel.cost_sat:,} sat"
    )
    if channel.channel_point in lease.closed_early:
        return f"{line}: **{channel.phase} before its term was over**"
    if channel.expiry_height is None:
        return f"{line}: not confirmed yet"
    left = channel.expiry_height - height
    if left <= 0:
        return f"{line}: its term ended at height {channel.expiry_height:,}"
    is_open = channel.phase is ClosePhase.OPEN
    return f"{line}: {'open' if is_open else channel.phase}, {in_blocks(left)} left"
