"""Moving liquidity around through LND. Safe to run again at any point: LND is asked first.

Each attempt pays an invoice of its own, which follows from the request and the attempt's
number. That invoice is the fence: an attempt is over only when LND says that it has settled,
or when its invoice is canceled, after which nothing can settle it, however late a lost call
may still arrive.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio import activity

from activities.errors import application_error
from activities.heartbeats import WHILE_SENDING_SECONDS, heartbeating, until_shutdown
from fulgurite.errors import (
    AlreadyExistsError,
    FulguriteError,
    InvoiceDecidedError,
    InvoiceExistsError,
    InvoiceNotFoundError,
    NodeUnavailableError,
    PaymentNotFoundError,
    RouteNotFoundError,
    UnexpectedAnswerError,
)
from fulgurite.identity import Digest, NodePubkey, PaymentHash, Preimage
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.money import Msat
from fulgurite.payments.states import PaymentStatus
from fulgurite.rebalances.calls import (
    LOOK_AT_CHANNELS,
    PREPARE_ATTEMPT,
    RECALL_ATTEMPTS,
    SEND_ATTEMPT,
    Attempt,
    Known,
    LookAtChannels,
    Prepare,
    Prepared,
    PrepareOutcome,
    Recall,
    Recalled,
    SendAttempt,
    SendOutcome,
    Sent,
    Side,
    Sides,
)
from fulgurite.rebalances.requests import RebalanceMethod
from fulgurite.rebalances.routes import Route
from fulgurite.sealing import UnsealingKey
from nodes.lnd.invoices import NodeInvoice
from nodes.lnd.routes import NodeAttempt
from nodes.registry import Nodes

_CLTV_BLOCKS: Final = 80
_EXPIRY_SECONDS: Final = 3_600
# An invoice of an earlier try with less than this left is not worth an attempt.
_TOO_OLD: Final = timedelta(minutes=10)
# A stream that is silent for this long may be dead: ask anew.
_ASK_ANEW_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 1.0
# Between LND's note of a payment and that of its HTLC there is a moment.
_GRACE_SECONDS: Final = 3.0
_MEMO: Final = re.compile(
    r"fulgurite rebalance ([A-Za-z0-9][A-Za-z0-9._:@-]{0,99}) #(\d{1,6}) ([0-9a-f]{64})"
)
_OVER: Final = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.FAILED})


@dataclass(frozen=True)
class Behind:
    """The attempt that has made an invoice."""

    key: str
    identity: Digest
    number: int


def attempt_behind(key: UnsealingKey, node: str, invoice: NodeInvoice) -> Behind | None:
    """Which attempt an invoice is of; None: of none of ours, whatever its memo says."""
    said = _MEMO.fullmatch(invoice.memo)
    if said is None:
        return None
    behind = Behind(key=said[1], number=int(said[2]), identity=Digest(said[3]))
    preimage = key.preimage_of_rebalance(node, behind.identity, behind.number)
    return behind if preimage.settles(invoice.payment_hash) else None


class RebalanceActivities:
    """Rebalances of nodes whose pay, invoice and observe credentials this worker holds."""

    def __init__(self, nodes: Nodes, key: UnsealingKey) -> None:
        self._nodes = nodes
        self._key = key
        self._own_keys: dict[str, NodePubkey] = {}

    def has_made(self, node: str, invoice: NodeInvoice) -> bool:
        """Whether an invoice is an attempt's own: its settlement is no news to the world."""
        return attempt_behind(self._key, node, invoice) is not None

    @activity.defn(name=LOOK_AT_CHANNELS.name)
    async def look(self, ask: LookAtChannels) -> Sides:
        """The channels as LND lists them now. Raises NodeErrors, to be retried."""
        try:
            async with heartbeating():
                channels = await self._nodes.channels(ask.node).channels()
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        wanted = set(ask.channel_points)
        return Sides(
            sides=tuple(Side.of(each) for each in channels if each.channel_point in wanted)
        )

    @activity.defn(name=RECALL_ATTEMPTS.name)
    async def recall(self, ask: Recall) -> Recalled:
        """The next attempt that has moved, or still may; those before it are fenced.

        Raises NodeErrors, to be retried for ever: nothing may be begun before it is known.
        """
        try:
            async with heartbeating():
                return await self._recall(ask)
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _recall(self, ask: Recall) -> Recalled:
        number = last = ask.after
        while number < last + ask.look_ahead:
            number += 1
            payment_hash = self._key.preimage_of_rebalance(ask.node, ask.identity, number).hash()
            written, before = await self._before(ask.node, payment_hash)
            if known := _known(payment_hash, written, before):
                return Recalled(number=number, known=known)
            if written or before:
                # Also what was never sent: whoever was about to send it may still do so.
                await self._fence(ask.node, payment_hash)
                last = number
        return Recalled(number=last)

    @activity.defn(name=PREPARE_ATTEMPT.name)
    async def prepare(self, ask: Prepare) -> Prepared:
        """A route within the limit, and the invoice that it will pay. Nothing is sent.

        Raises InvalidRequestErrors, not to be retried, and NodeErrors.
        """
        try:
            async with heartbeating():
                return await self._prepare(ask)
        except FulguriteError as error:
            raise application_error(error) from error

    async def _prepare(self, ask: Prepare) -> Prepared:
        attempt = ask.attempt
        preimage = self._preimage(attempt)
        payment_hash = preimage.hash()
        written, before = await self._before(attempt.node, payment_hash)
        if known := _known(payment_hash, written, before):
            return Prepared(outcome=PrepareOutcome.KNOWN, payment_hash=payment_hash, known=known)
        if before or (written and not _usable(written, attempt)):
            await self._fence(attempt.node, payment_hash)
            return Prepared(outcome=PrepareOutcome.SPENT, payment_hash=payment_hash)
        route = None
        if attempt.method is RebalanceMethod.ROUTES:
            try:
                route = await self._find(ask, attempt.fee_limit_msat)
            except RouteNotFoundError:
                return Prepared(
                    outcome=PrepareOutcome.NO_ROUTE, cheapest_fee_msat=await self._cheapest(ask)
                )
        if written is None:
            await self._write(attempt, payment_hash, preimage)
        return Prepared(outcome=PrepareOutcome.READY, payment_hash=payment_hash, route=route)

    async def _find(self, ask: Prepare, fee_limit: Msat) -> Route:
        attempt = ask.attempt
        return await self._nodes.routes(attempt.node).find(
            attempt,
            own_key=await self._own_key(attempt.node),
            fee_limit=fee_limit,
            final_cltv_blocks=_CLTV_BLOCKS,
            avoid=ask.avoid,
        )

    async def _cheapest(self, ask: Prepare) -> Msat | None:
        """What it would cost where fees were no matter, so that somebody can be told."""
        try:
            return (await self._find(ask, ask.attempt.amount_msat)).fees_msat
        except RouteNotFoundError:
            return None

    async def _write(self, attempt: Attempt, payment_hash: PaymentHash, preimage: Preimage) -> None:
        request = InvoiceRequest(
            key=attempt.key,
            node=attempt.node,
            amount_msat=attempt.amount_msat,
            memo=f"fulgurite rebalance {attempt.key} #{attempt.number} {attempt.identity}",
            expiry_seconds=_EXPIRY_SECONDS,
            cltv_expiry_blocks=_CLTV_BLOCKS,
        )
        with suppress(InvoiceExistsError):  # by a run of this that was cut off
            await self._nodes.invoices(attempt.node).add(request, payment_hash, preimage)

    async def _written(self, node: str, payment_hash: PaymentHash) -> NodeInvoice | None:
        try:
            return await self._nodes.invoices(node).look_up(payment_hash)
        except InvoiceNotFoundError:
            return None

    async def _before(
        self, node: str, payment_hash: PaymentHash
    ) -> tuple[NodeInvoice | None, NodeAttempt | None]:
        """The two words that LND has of a number; it can forget either."""
        written = await self._written(node, payment_hash)
        return written, await self._nodes.routes(node).word(payment_hash)

    @activity.defn(name=SEND_ATTEMPT.name)
    async def send(self, ask: SendAttempt) -> Sent:
        """Asks LND, sends if LND has nothing, and follows to the verdict, or to `ask.until`.

        Raises NodeErrors, to be retried for ever: LND may have it.
        """
        try:
            async with heartbeating(WHILE_SENDING_SECONDS):
                return await until_shutdown(self._send(ask))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _send(self, ask: SendAttempt) -> Sent:
        said = await self._word(ask)
        if said is None:
            if ask.send_before is None or datetime.now(UTC) >= min(ask.until, ask.send_before):
                return await self._not_sent(ask, "it was not to be sent any more")
            try:
                async with asyncio.timeout(_seconds_to(ask.until)):
                    await self._launch(ask)
            except (TimeoutError, AlreadyExistsError):
                pass  # LND has it
            except NodeUnavailableError:
                raise  # it may have arrived: the next run asks first
            except FulguriteError as error:
                return await self._not_sent(ask, str(error))
        return await self._follow(ask)

    async def _launch(self, ask: SendAttempt) -> None:
        """Returns when LND has answered: with the HTLC's end, or that it has the payment."""
        attempt, routes = ask.attempt, self._nodes.routes(ask.attempt.node)
        invoices = self._nodes.invoices(attempt.node)
        if ask.route is None:
            written = await invoices.look_up(ask.payment_hash)
            seconds = max(1, int(_seconds_to(ask.until)))
            await routes.pay_self(attempt, written.payment_request, seconds=seconds)
            return
        address = await invoices.payment_address(ask.payment_hash)
        await routes.send(ask.payment_hash, ask.route, address, attempt.amount_msat)

    async def _follow(self, ask: SendAttempt) -> Sent:
        routes = self._nodes.routes(ask.attempt.node)
        by_route = ask.attempt.method is RebalanceMethod.ROUTES
        patience = _GRACE_SECONDS
        while True:
            said = await self._word(ask)
            if said and said.payment.status in _OVER:
                return await self._ended(ask, said)
            if said is None or (by_route and not said.payment.attempts):
                # Noted by LND, and no HTLC of it: by a call that came to nothing, or is at it.
                if patience <= 0:
                    return await self._not_sent(ask, "LND has no HTLC of it")
                patience -= _PAUSE_SECONDS
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            left = _seconds_to(ask.until)
            if left <= 0:
                return Sent(outcome=SendOutcome.IN_FLIGHT)
            with suppress(TimeoutError, PaymentNotFoundError):
                async with (
                    asyncio.timeout(min(left, _ASK_ANEW_SECONDS)),
                    aclosing(routes.words(ask.payment_hash)) as words,
                ):
                    async for word in words:
                        if word.payment.status in _OVER:
                            break

    async def _ended(self, ask: SendAttempt, said: NodeAttempt) -> Sent:
        payment = said.payment
        if payment.status is PaymentStatus.FAILED:
            await self._fence(ask.attempt.node, ask.payment_hash)
        return Sent(
            outcome=SendOutcome.of(payment.status),
            amount_msat=payment.amount,
            fee_msat=payment.fee,
            failure_reason=payment.failure_reason,
            failure=said.failure,
        )

    async def _not_sent(self, ask: SendAttempt, because: str) -> Sent:
        """Nothing of it moves any more; unless it has after all, and then LND says so now."""
        fenced = await self._canceled(ask.attempt.node, ask.payment_hash)
        said = await self._word(ask)
        if said and said.payment.status in _OVER:
            return await self._ended(ask, said)
        if said and said.payment.attempts:
            return Sent(outcome=SendOutcome.IN_FLIGHT)
        if fenced:
            return Sent(outcome=SendOutcome.NOT_SENT, because=because[:400].replace("\n", " "))
        if said:
            raise _not_yet(ask.payment_hash)
        # Somebody has deleted the payment, and what it has cost with it: the most is counted.
        attempt = ask.attempt
        return Sent(
            outcome=SendOutcome.SUCCEEDED,
            amount_msat=attempt.amount_msat,
            fee_msat=attempt.fee_limit_msat,
            because="LND has deleted the payment: its fee is not known",
        )

    async def _fence(self, node: str, payment_hash: PaymentHash) -> None:
        """After this nothing can settle the invoice. Raises where it has settled."""
        if not await self._canceled(node, payment_hash):
            raise _not_yet(payment_hash)

    async def _canceled(self, node: str, payment_hash: PaymentHash) -> bool:
        """Cancels the invoice; False: it has settled."""
        try:
            await self._nodes.invoices(node).cancel(payment_hash)
        except InvoiceDecidedError:
            return False
        except InvoiceNotFoundError:
            pass  # LND can be set to forget what was canceled
        return True

    async def _word(self, ask: SendAttempt) -> NodeAttempt | None:
        return await self._nodes.routes(ask.attempt.node).word(ask.payment_hash)

    async def _own_key(self, name: str) -> NodePubkey:
        if name not in self._own_keys:
            self._own_keys[name] = (await self._nodes.connection(name).check()).pubkey
        return self._own_keys[name]

    def _preimage(self, attempt: Attempt) -> Preimage:
        return self._key.preimage_of_rebalance(attempt.node, attempt.identity, attempt.number)


def _known(
    payment_hash: PaymentHash, written: NodeInvoice | None, before: NodeAttempt | None
) -> Known | None:
    """What has moved, or still may: by the payment, or by the invoice where that is deleted."""
    if before and before.payment.status is not PaymentStatus.FAILED:
        settled = before.payment.status is PaymentStatus.SUCCEEDED
        amount = before.payment.amount
    elif before is None and written and written.state is LndInvoiceState.SETTLED:
        settled, amount = True, written.paid
    else:
        return None
    return Known(payment_hash=payment_hash, amount_msat=amount, settled=settled)


def _usable(written: NodeInvoice, attempt: Attempt) -> bool:
    """Whether it can still be paid, and for as long as an attempt may take."""
    return (
        written.state is LndInvoiceState.OPEN
        and written.expires_at > datetime.now(UTC) + _TOO_OLD
        and written.amount == attempt.amount_msat
    )


def _not_yet(payment_hash: PaymentHash) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        f"invoice {payment_hash} has settled, and its payment does not say so yet"
    )


def _seconds_to(until: datetime) -> float:
    return (until - datetime.now(UTC)).total_seconds()
