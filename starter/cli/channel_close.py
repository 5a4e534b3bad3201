"""`fulgurite channel close`."""

from __future__ import annotations

from typing import Annotated

import typer
from temporalio.client import WorkflowExecutionStatus

import settings as configuration
from fulgurite.channels.requests import CloseKind, CloseRequest, FeeBudget
from fulgurite.channels.states import CloseState
from fulgurite.errors import ChannelNotFoundError
from starter.channel import ChannelClose
from starter.channels import NodeChannels
from starter.cli import channel_rendering
from starter.cli.channel_looking import present_channels
from starter.cli.documents import CloseOutcome, ClosePlan
from starter.cli.exits import ExitCode
from starter.cli.following import followed, left_under_way
from starter.cli.options import asked, only_node
from starter.cli.running import (
    Force,
    Json,
    command,
    confirm,
    connected,
    err,
    out,
    print_json,
)
from starter.client import channel_point_of

_OF_STATE: dict[CloseState, ExitCode] = {
    CloseState.CLOSED: ExitCode.DONE,
    CloseState.CALLED_OFF: ExitCode.NOTHING_MOVED,
    CloseState.REFUSED: ExitCode.REFUSED,
}

_COOPERATIVE, _FEES = "Cooperative", "Fees"


@command
async def close(
    point: Annotated[
        str,
        typer.Argument(metavar="POINT", help="The channel, TXID:INDEX as `channel list` has it."),
    ],
    *,
    node: Annotated[
        str | None,
        typer.Option(
            envvar="FULGURITE_NODE",
            help="Whose channel it is. Not needed where one node is configured.",
        ),
    ] = None,
    force_close: Annotated[
        bool,
        typer.Option(
            "--force-close",
            help="Without the peer: our balance waits for CSV, HTLCs for their expiry.",
        ),
    ] = False,
    delivery_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where our balance goes. [the node's wallet]",
            rich_help_panel=_COOPERATIVE,
        ),
    ] = None,
    sat_per_vbyte: Annotated[
        int | None,
        typer.Option(metavar="N", help="The fee rate.", rich_help_panel=_COOPERATIVE),
    ] = None,
    target_conf: Annotated[
        int | None,
        typer.Option(
            metavar="BLOCKS",
            help="A fee rate that should get it confirmed within so many.",
            rich_help_panel=_COOPERATIVE,
        ),
    ] = None,
    fee_budget_sat: Annotated[
        int | None,
        typer.Option(
            metavar="SAT",
            help="For all fee bumps together; never more than an output is worth. [0]",
            rich_help_panel=_FEES,
        ),
    ] = None,
    bump_blocks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Bump what is unconfirmed so many blocks before a deadline. [12]",
            rich_help_panel=_FEES,
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Order it, and do not follow it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Order nothing; say what is at stake.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Closes a channel and follows it until its last output is resolved, which can take days.

    It goes on without this command: Ctrl-C leaves it under way, and the same command joins it.
    """
    request = asked(
        CloseRequest,
        node=node or only_node(configuration.load(), "has it"),
        channel_point=channel_point_of(point),
        kind=CloseKind.FORCE if force_close else CloseKind.COOPERATIVE,
        sat_per_vbyte=sat_per_vbyte,
        target_conf_blocks=target_conf,
        delivery_address=delivery_address,
        fees=asked(FeeBudget, budget_sat=fee_budget_sat, blocks_before_deadline=bump_blocks),
    )
    client = await connected()
    if dry_run or not force:
        channels = await present_channels(client, request.node, must=dry_run, quiet=as_json)
        if channels:
            _show_plan(channels, request, dry_run=dry_run, as_json=as_json)
    if dry_run:
        return ExitCode.DONE
    verb = "Force close it" if force_close else "Close it"
    confirm(f"{verb} on {request.node}? It cannot be called back.", force=force)
    closing = await client.close_channel(request)
    over = closing.attached and await closing.status() is not WorkflowExecutionStatus.RUNNING
    if over:
        err.print("It is closed already: nothing was ordered.")
    elif closing.attached:
        err.print("It is being closed already: this order was added, and is followed with it.")
    if no_wait and not over:
        return _left_under_way(closing, request, as_json=as_json)
    return await _followed(closing, request, as_json=as_json)


def _show_plan(
    channels: NodeChannels, request: CloseRequest, *, dry_run: bool, as_json: bool
) -> None:
    """What a close of it means. Raises ChannelNotFoundError for a channel of nobody's."""
    point, tip = request.channel_point, channels.tip
    channel = next((each for each in channels.open if each.channel_point == point), None)
    closing = next((each for each in channels.closing if each.channel_point == point), None)
    if channel is None and closing is None and point not in channels.opening:
        raise ChannelNotFoundError(
            f"{request.node} has no open channel {point}: see `fulgurite channel list`; one that "
            "is closed already has its receipt in Temporal, close/<channel point>"
        )
    if dry_run and as_json:
        print_json(ClosePlan(request=request, tip=tip, channel=channel))
        return
    told = out if dry_run else err
    if channel:
        height = tip.height if tip else None
        told.print(channel_rendering.at_stake(channel, request, height), soft_wrap=True)
    elif closing:
        told.print(channel_rendering.view(closing), soft_wrap=True)
    if dry_run:
        err.print("Nothing was ordered: this was a dry run.")


async def _followed(closing: ChannelClose, request: CloseRequest, *, as_json: bool) -> ExitCode:
    receipt = await followed(closing, channel_rendering.moment, as_json=as_json)
    if receipt is None:
        return _left_under_way(closing, request, as_json=as_json)
    if as_json:
        print_json(
            CloseOutcome(
                channel_point=request.channel_point, attached=closing.attached, receipt=receipt
            )
        )
    else:
        out.print(channel_rendering.receipt(receipt), soft_wrap=True)
    return _OF_STATE[receipt.status]


def _left_under_way(closing: ChannelClose, request: CloseRequest, *, as_json: bool) -> ExitCode:
    return left_under_way(
        CloseOutcome(channel_point=request.channel_point, attached=closing.attached, receipt=None),
        "It is closed without this command. To see how far it is:",
        f"fulgurite channel list --node {request.node}",
        as_json=as_json,
    )
