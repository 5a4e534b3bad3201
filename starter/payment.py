"""One payment, as its caller and its operators see it."""

from __future__ import annotations

from typing import ClassVar

from temporalio.client import WorkflowHandle

from fulgurite.identity import PaymentHash
from fulgurite.payments.receipts import PaymentView, Receipt
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.payments.states import PAYMENT, PaymentState
from starter.handle import Handle
from workflows.payment import PaymentWorkflow


class Payment(Handle[Receipt, PaymentView]):
    """A payment that has been asked for: `receipt`, `view`, `watch`, and orders."""

    _NOUN: ClassVar = "payment"

    def __init__(
        self,
        payment_hash: PaymentHash,
        handle: WorkflowHandle[PaymentWorkflow, Receipt],
        *,
        attached: bool,
    ) -> None:
        """`attached`: somebody else started it; its terms are theirs."""
        super().__init__(handle, PaymentWorkflow.view)
        self.payment_hash = payment_hash
        self.attached = attached

    def __repr__(self) -> str:
        return f"Payment({self.payment_hash}, attached={self.attached})"

    async def approve(self, approval: Approval) -> PaymentView:
        """Raises InvalidRequestError when there is nothing (more) to decide."""
        return await self._ordering(PaymentWorkflow.approve, approval)

    async def reject(self, rejection: Rejection) -> PaymentView:
        """Raises InvalidRequestError when there is nothing (more) to decide."""
        return await self._ordering(PaymentWorkflow.reject, rejection)

    async def cancel(self, cancellation: Cancellation) -> PaymentView:
        """No new attempts; what is in flight stays so until LND ends it.

        Again, it changes nothing. Raises InvalidRequestError when the payment has ended
        otherwise.
        """
        return await self._ordering(
            PaymentWorkflow.cancel, cancellation, done={PaymentState.CANCELED}
        )

    def _standing(self, view: PaymentView) -> str:
        return view.state

    def _is_last(self, view: PaymentView) -> bool:
        return view.state in PAYMENT.terminal
