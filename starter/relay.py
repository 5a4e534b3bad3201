"""One relay: what the payer is to be given, what became of it, and calling it off."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Final

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.errors import FulguriteError, InvalidRequestError
from fulgurite.identity import PaymentHash
from fulgurite.relays.receipts import RelayReceipt, RelayView
from fulgurite.relays.requests import RelayCancellation, RelayRequest, understand_relay
from fulgurite.relays.states import RELAY, RelayState
from starter.errors import WorkerUnavailableError, temporal_errors, told
from starter.handle import Handle
from workflows.relay import RelayWorkflow

# Two nodes are asked, and one writes an invoice.
_PATIENCE: Final = timedelta(seconds=30)


class Relay(Handle[RelayReceipt, RelayView]):
    """A relay that has been asked for: `receipt`, `view`, `watch` and `cancel`."""

    _NOUN: ClassVar = "relay"

    def __init__(self, client: Client, payment_hash: PaymentHash) -> None:
        super().__init__(
            client.get_workflow_handle_for(RelayWorkflow.run, ids.relay_id(payment_hash)),
            RelayWorkflow.view,
        )
        self.payment_hash = payment_hash

    def __repr__(self) -> str:
        return f"Relay({self.payment_hash})"

    async def cancel(self, cancellation: RelayCancellation) -> RelayView:
        """Nothing more is sent; what is in flight is followed, and decides.

        Repeated, it changes nothing. Raises InvalidRequestError when the relay has ended
        otherwise.
        """
        return await self._ordering(RelayWorkflow.cancel, cancellation, done={RelayState.CANCELED})

    def _standing(self, view: RelayView) -> str:
        return view.state

    def _is_last(self, view: RelayView) -> bool:
        return view.state in RELAY.terminal


async def begin_relay(client: Client, request: RelayRequest) -> RelayView:
    """Starts a relay, or joins the one under way; what `FulguriteClient.begin_relay` does.

    One that has ended is not begun again: what it did would be taken for a loss. One that
    was refused, or ended by force, is.
    """
    payment_hash = understand_relay(request).payment_hash
    begin = WithStartWorkflowOperation(
        RelayWorkflow.run,
        args=[request],
        id=ids.relay_id(payment_hash),
        task_queue=ids.TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    )
    try:
        with temporal_errors():
            return await client.execute_update_with_start_workflow(
                RelayWorkflow.payment_request,
                request,
                start_workflow_operation=begin,
                rpc_timeout=_PATIENCE,
            )
    except WorkflowAlreadyStartedError as ended:
        receipt = await Relay(client, payment_hash).receipt()
        raise InvalidRequestError(
            f"this relay has ended as {receipt.status}: ask the payee for a new invoice"
        ) from ended
    except WorkflowUpdateFailedError as failed:
        raise told(failed.cause) or FulguriteError(str(failed.cause)) from failed
    except WorkflowUpdateRPCTimeoutOrCancelledError as late:
        raise WorkerUnavailableError(
            f"no worker, or no LND, answered within {_PATIENCE.seconds} s. The same request again "
            "joins what may have begun"
        ) from late
