"""What a swap would cost now, and whether it would be begun. Nothing is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from fulgurite import ids
from fulgurite.swaps.calls import QUOTE_SWAP, QuoteSwap, SwapPlan
from fulgurite.swaps.progress import judged
from fulgurite.swaps.requests import SwapRequest
from workflows.calling import refused, try_on

_ONE_CALL = timedelta(minutes=1)
_START_WITHIN = timedelta(seconds=30)


@workflow.defn(name="SwapQuoteWorkflow")
class SwapQuoteWorkflow:
    """Asks once, and ends. Its id is `swap-quote/<key>`."""

    @workflow.run
    async def run(self, request: Any = None) -> SwapPlan:
        """Raises ApplicationError for a request that makes no sense, or that has no answer."""
        try:
            wanted = SwapRequest.model_validate(request)
        except ValidationError as error:
            raise refused(error) from None
        try:
            offer = await try_on(
                ids.swap_queue(wanted.node),
                QUOTE_SWAP,
                QuoteSwap(request=wanted, label_prefix=f"{ids.swap_id(wanted.key)}#"),
                at_most=_ONE_CALL,
                start_within=_START_WITHIN,
                summary=f"quote {wanted.amount_sat:,} sat",
            )
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError):
                raise ApplicationError(cause.message, type=cause.type, non_retryable=True) from None
            raise
        return judged(wanted, offer)
