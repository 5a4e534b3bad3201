"""Where a swap stands, and why it moves."""

from __future__ import annotations

from enum import StrEnum

from fulgurite.lifecycle import Edge, Lifecycle


class SwapState(StrEnum):
    """Words that loopd has are loopd's; SUCCESS is told as SUCCEEDED, as of payments."""

    QUOTING = "QUOTING"  # the server's terms and its price are asked for; nothing has moved
    PAUSED = "PAUSED"  # a person said wait; nothing has moved
    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # a person is asked; nothing has moved
    READY = "READY"  # it waits for its turn on the channels and for its budget
    INITIATING = "INITIATING"  # loopd is being asked; it may have begun
    ORPHAN_WATCH = "ORPHAN_WATCH"  # the answer was lost: it is looked for
    UNCERTAIN = "UNCERTAIN"  # not found, which proves nothing: a person is asked
    INITIATED = "INITIATED"  # loopd has it, and pays the server or the chain
    HTLC_PUBLISHED = "HTLC_PUBLISHED"  # in: our coins are offered on chain
    PREIMAGE_REVEALED = "PREIMAGE_REVEALED"  # out: the sweep is published; it must confirm in time
    INVOICE_SETTLED = "INVOICE_SETTLED"  # in: the server has paid us
    STALLED = "STALLED"  # loopd calls it failed and goes on when it is restarted or mended
    SUCCEEDED = "SUCCEEDED"  # loopd: SUCCESS
    FAILED = "FAILED"  # loopd: FAILED, for a reason that is final
    ABANDONED = "ABANDONED"  # loopd: FAILED, because a person said so
    REFUSED = "REFUSED"  # a limit, the terms, a budget, loopd or its server; nothing has moved
    REJECTED = "REJECTED"  # a person said no; nothing has moved
    EXPIRED = "EXPIRED"  # the deadline passed before it was begun
    CANCELED = "CANCELED"  # called off before it was begun
    GIVEN_UP = "GIVEN_UP"  # a person stopped looking for an uncertain one; it may turn up yet


class SwapEvent(StrEnum):
    """What moves it."""

    NEEDS_APPROVAL = "NEEDS_APPROVAL"
    WITHIN_LIMITS = "WITHIN_LIMITS"  # quoted, and nobody has to be asked
    PAUSED = "PAUSED"
    RESUMED = "RESUMED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    LAPSED = "LAPSED"
    CANCELED = "CANCELED"
    REFUSED = "REFUSED"
    ASKED = "ASKED"  # loopd is asked to begin
    NOT_ASKED = "NOT_ASKED"  # it certainly was not: it did not answer the question before
    LOST = "LOST"  # the answer: it may have begun
    FOUND = "FOUND"  # loopd has a swap of our label
    NOT_FOUND = "NOT_FOUND"  # and this is no proof
    AGAIN = "AGAIN"  # a person orders another try
    ADOPTED = "ADOPTED"  # a person says which of loopd's swaps it is
    GIVEN_UP = "GIVEN_UP"
    PUBLISHED = "PUBLISHED"  # loopd's words, from here on
    REVEALED = "REVEALED"
    PAID = "PAID"
    STALLED = "STALLED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABANDONED = "ABANDONED"


_S, _E = SwapState, SwapEvent

# Nothing has been asked of loopd: pausing and calling off are free.
BEFORE = (_S.QUOTING, _S.PAUSED, _S.AWAITING_APPROVAL, _S.READY)
# loopd has it.
UNDER_WAY = (
    _S.INITIATED,
    _S.HTLC_PUBLISHED,
    _S.PREIMAGE_REVEALED,
    _S.INVOICE_SETTLED,
    _S.STALLED,
)

SWAP = Lifecycle(
    start=_S.QUOTING,
    edges=[
        Edge(_S.QUOTING, _E.WITHIN_LIMITS, _S.READY, "quoted, and within every limit"),
        Edge(_S.QUOTING, _E.NEEDS_APPROVAL, _S.AWAITING_APPROVAL, "above a threshold"),
        Edge(_S.AWAITING_APPROVAL, _E.APPROVED, _S.READY, "a person said yes"),
        Edge(_S.AWAITING_APPROVAL, _E.REJECTED, _S.REJECTED, "a person said no"),
        *(
            Edge(each, _E.REFUSED, _S.REFUSED, "a limit, the terms, a budget")
            for each in (_S.QUOTING, _S.READY)
        ),
        *(
            Edge(each, _E.PAUSED, _S.PAUSED, "a person said wait")
            for each in (_S.QUOTING, _S.AWAITING_APPROVAL, _S.READY)
        ),
        Edge(_S.PAUSED, _E.RESUMED, _S.QUOTING, "a quote does not keep: a new one is asked for"),
        *(Edge(each, _E.CANCELED, _S.CANCELED, "loopd was not asked") for each in BEFORE),
        *(Edge(each, _E.LAPSED, _S.EXPIRED, "loopd was not asked in time") for each in BEFORE),
        # An earlier run, or an earlier worker, may have begun it: loopd is asked before any try.
        *(Edge(each, _E.FOUND, _S.INITIATED, "loopd has it already") for each in BEFORE),
        Edge(_S.READY, _E.ASKED, _S.INITIATING, "loopd is asked, once"),
        Edge(_S.INITIATING, _E.FOUND, _S.INITIATED, "loopd has it"),
        Edge(_S.INITIATING, _E.NOT_ASKED, _S.QUOTING, "loopd did not answer, and was not asked"),
        Edge(_S.INITIATING, _E.REFUSED, _S.REFUSED, "loopd or its server, before it began"),
        Edge(_S.INITIATING, _E.LOST, _S.ORPHAN_WATCH, "an answer that never came proves nothing"),
        Edge(_S.ORPHAN_WATCH, _E.FOUND, _S.INITIATED, "it was listed late"),
        Edge(_S.ORPHAN_WATCH, _E.NOT_FOUND, _S.UNCERTAIN, "it can appear when loopd restarts"),
        Edge(_S.UNCERTAIN, _E.FOUND, _S.INITIATED, "loopd has restarted, and runs it"),
        Edge(_S.UNCERTAIN, _E.ADOPTED, _S.INITIATED, "a person found it"),
        Edge(_S.UNCERTAIN, _E.AGAIN, _S.QUOTING, "a person answers for it"),
        Edge(_S.UNCERTAIN, _E.GIVEN_UP, _S.GIVEN_UP, "a person answers for it"),
        Edge(_S.INITIATED, _E.PUBLISHED, _S.HTLC_PUBLISHED, "loopd's word"),
        Edge(_S.INITIATED, _E.REVEALED, _S.PREIMAGE_REVEALED, "loopd's word"),
        *(
            Edge(each, _E.PAID, _S.INVOICE_SETTLED, "loopd's word")
            for each in (_S.INITIATED, _S.HTLC_PUBLISHED)
        ),
        # What loopd calls failed for such a reason goes on when it starts again.
        *(
            Edge(each, _E.STALLED, _S.STALLED, "loopd's word, and not its last")
            for each in UNDER_WAY
            if each is not _S.STALLED
        ),
        Edge(_S.STALLED, _E.FOUND, _S.INITIATED, "loopd goes on"),
        Edge(_S.STALLED, _E.PUBLISHED, _S.HTLC_PUBLISHED, "loopd goes on"),
        Edge(_S.STALLED, _E.REVEALED, _S.PREIMAGE_REVEALED, "loopd goes on"),
        Edge(_S.STALLED, _E.PAID, _S.INVOICE_SETTLED, "loopd goes on"),
        *(Edge(each, _E.SUCCEEDED, _S.SUCCEEDED, "loopd's verdict") for each in UNDER_WAY),
        *(Edge(each, _E.FAILED, _S.FAILED, "loopd's verdict") for each in UNDER_WAY),
        *(Edge(each, _E.ABANDONED, _S.ABANDONED, "loopd's verdict") for each in UNDER_WAY),
    ],
)
