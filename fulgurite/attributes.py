"""What operators search workflows by. Stored in plain text: nothing secret, ever."""

from __future__ import annotations

from typing import Final

STATE: Final = "FulguriteState"
NODE: Final = "FulguriteNode"
PAYMENT_HASH: Final = "FulguritePaymentHash"
DESTINATION: Final = "FulguriteDestination"
AMOUNT_MSAT: Final = "FulguriteAmountMsat"
FAILURE_REASON: Final = "FulguriteFailureReason"
KEY: Final = "FulguriteKey"
EVENT_TYPE: Final = "FulguriteEventType"

# Name → type, for `temporal operator search-attribute create` and for the dev server.
REGISTRY: Final[dict[str, str]] = {
    STATE: "Keyword",
    NODE: "Keyword",
    PAYMENT_HASH: "Keyword",
    DESTINATION: "Keyword",
    AMOUNT_MSAT: "Int",
    FAILURE_REASON: "Keyword",
    KEY: "Keyword",
    EVENT_TYPE: "Keyword",
}
