"""`fulgurite liquidity …`: what the autopilot would do, has it done, and has done."""

from __future__ import annotations

import asyncio
import getpass
import tomllib
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from fulgurite.errors import InvalidRequestError
from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from fulgurite.liquidity.policy import LiquidityPolicy, Mode
from fulgurite.liquidity.requests import LiquidityRequest, PlanApproval
from fulgurite.liquidity.words import headline
from fulgurite.model import mistakes
from fulgurite.payments.requests import Rejection
from starter.cli import liquidity_rendering as rendering
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.options import asked
from starter.cli.progress import teller, wait_for
from starter.cli.rendering import Columns
from starter.cli.running import (
    Force,
    Json,
    NotConfirmedError,
    command,
    confirm,
    err,
    out,
    print_json,
    temporal,
    wide,
    wide_err,
)
from starter.liquidity import LiquidityRun, make_plan, plan_of, plans

app = typer.Typer(
    help="Liquidity: which channel wants what, what it costs, and why nothing is done.",
    no_args_is_help=True,
)

Node = Annotated[str, typer.Argument(metavar="NODE", help="The configured node.")]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="FILE", help="Another policy than the node's own: a TOML file."
    ),
]

_OF_STATE: dict[PlanState, ExitCode] = {
    PlanState.PLANNED: ExitCode.DONE,
    PlanState.BEGUN: ExitCode.DONE,
    PlanState.REJECTED: ExitCode.NOTHING_MOVED,
    PlanState.LAPSED: ExitCode.NOTHING_MOVED,
    PlanState.BLIND: ExitCode.UNREACHABLE,
}


@app.command(epilog=EPILOG)
@command
async def plan(node: Node, policy: PolicyFile = None, as_json: Json = False) -> ExitCode:
    """Shows what the autopilot would do now, and why. Moves nothing."""
    order = asked(LiquidityRequest, node=node, mode=Mode.EXPLAIN, policy=_policy(policy))
    run = await make_plan(await temporal(), order)
    return await _shown_to_the_end(run, as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def apply(
    node: Node,
    *,
    policy: PolicyFile = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNEL", help="Only this channel's move. Can be given again."),
    ] = None,
    waiting: Annotated[
        str | None,
        typer.Option("--plan", metavar="WORKFLOW-ID", help="A plan that waits for a person."),
    ] = None,
    who: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Who decides. [the user of this system]"),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Makes a plan, shows it, asks, and has its moves begun, each in a workflow of its own."""
    by = who or getpass.getuser()
    approval = asked(PlanApproval, approver=by, only=only or ())
    order = asked(LiquidityRequest, node=node, mode=Mode.ASK, policy=_policy(policy))
    client = await temporal()
    run = plan_of(client, waiting) if waiting else await make_plan(client, order)
    view = await _asking(run, as_json=as_json)
    if view.state is not PlanState.AWAITING_APPROVAL:
        # Nothing is to be moved, or nothing could be seen: there is no question.
        return _told(view, run.id, as_json=as_json)
    if not force:
        wide_err.print(rendering.plan(view, run.id), width=rendering.width(wide_err.width))
        try:
            confirm(f"Move it as {by}?", force=force)
        except (NotConfirmedError, InvalidRequestError):
            if not waiting:
                await run.reject(Rejection(approver=by, reason="not confirmed"))
            raise
    await run.approve(approval)
    return await _shown_to_the_end(run, as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def history(
    node: Node,
    limit: Annotated[int, typer.Option(min=1, max=500, help="So many plans.")] = 10,
    as_json: Json = False,
) -> ExitCode:
    """Lists earlier plans, and what became of what they began. With --json one plan a line."""
    client = await temporal()
    rows = Columns("begun (UTC)", "state", "workflow", "plan")
    newest: LiquidityPlan | None = None
    async for found in plans(client, node, limit=limit):
        if found.workflow_status != "COMPLETED":
            if as_json:
                print_json(found)
            rows.add_row(
                f"{found.started_at:%m-%d %H:%M:%S}",
                rendering.colored(found.state),
                found.workflow_id,
                found.workflow_status,
            )
            continue
        made = await plan_of(client, found.workflow_id).receipt()
        newest = newest or made
        if as_json:
            print_json(made)
        rows.add_row(
            f"{found.started_at:%m-%d %H:%M:%S}",
            rendering.colored(made.state),
            found.workflow_id,
            headline(made),
        )
    if not as_json:
        wide.print(rows)
        if newest and newest.deeds:
            out.print()
            wide.print(rendering.deeds(newest.deeds))
    return ExitCode.DONE


async def _asking(run: LiquidityRun, *, as_json: bool) -> LiquidityPlan:
    """The plan when it asks, or when it has ended without a question."""
    with teller(err, quiet=as_json) as told:
        return await wait_for(run.asks(), run.watch, rendering.moment, told)


async def _shown_to_the_end(run: LiquidityRun, *, as_json: bool) -> ExitCode:
    try:
        with teller(err, quiet=as_json) as told:
            made = await wait_for(run.receipt(), run.watch, rendering.moment, told)
    except asyncio.CancelledError:
        err.print(f"\nLeft under way: {run.id}")
        return ExitCode.NO_VERDICT
    return _told(made, run.id, as_json=as_json)


def _told(made: LiquidityPlan, run_id: str, *, as_json: bool) -> ExitCode:
    if as_json:
        print_json(made)
    else:
        wide.print(rendering.plan(made, run_id), width=rendering.width(wide.width))
    return _OF_STATE.get(made.state, ExitCode.NO_VERDICT)


def _policy(path: Path | None) -> LiquidityPolicy | None:
    """Raises InvalidRequestError, which says where the file is wrong."""
    if path is None:
        return None
    try:
        return LiquidityPolicy.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        raise InvalidRequestError(f"{path}: {mistakes(error)}") from None
