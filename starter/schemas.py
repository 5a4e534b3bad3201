"""The JSON Schemas in docs/api/, for callers in any language and for receivers of webhooks.

`python -m starter.schemas` writes them; with `--check` it fails where one is stale.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema

from fulgurite.budgets.orders import BudgetRelease, BudgetSetting, Refusal
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.budgets.receipts import BudgetView
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.requests import CloseRequest
from fulgurite.channels.watch import WatchView
from fulgurite.events.catalogue import CATALOGUE, Event, EventType
from fulgurite.events.delivery import EventReceipt
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceReceipt, InvoiceView
from fulgurite.invoices.requests import Decision, InvoiceCancellation, InvoiceRequest, Settlement
from fulgurite.leases.receipts import LeaseReceipt, LeaseView
from fulgurite.leases.requests import LeaseCancellation, LeaseRequest
from fulgurite.liquidity.plans import LiquidityPlan
from fulgurite.liquidity.policy import LiquidityPolicy
from fulgurite.liquidity.requests import LiquidityRequest, PlanApproval
from fulgurite.model import Model
from fulgurite.payments.receipts import OnChain, PaymentView, Receipt
from fulgurite.payments.requests import Approval, Cancellation, PaymentRequest, Rejection
from fulgurite.rebalances.receipts import RebalanceReceipt, RebalanceView
from fulgurite.rebalances.requests import RebalanceCancellation, RebalanceRequest
from fulgurite.reconciliation.calls import Reconciliation
from fulgurite.reconciliation.differences import ReconciliationReport
from fulgurite.relays.receipts import RelayReceipt, RelayView
from fulgurite.relays.requests import RelayCancellation, RelayRequest
from fulgurite.stuck.policy import LadderPolicy
from fulgurite.stuck.receipts import LadderReceipt, LadderView
from fulgurite.stuck.requests import StuckRequest
from fulgurite.swaps.calls import SwapPlan
from fulgurite.swaps.receipts import SwapReceipt, SwapView
from fulgurite.swaps.requests import Abandonment, Adoption, SwapRequest, Word
from fulgurite.swaps.sequence import SequenceReceipt, SequenceView
from fulgurite.swaps.sequence_requests import SequenceChange, SwapSequenceRequest
from starter.channels import NodeChannels
from starter.cli.documents import (
    CloseOutcome,
    ClosePlan,
    InvoiceOutcome,
    LadderOutcome,
    LadderPlan,
    LeaseOutcome,
    LeasePlan,
    Outcome,
    Problem,
    Proof,
    PublicKey,
    RebalanceOutcome,
    RebalancePlan,
    ReplayReport,
    SequenceOutcome,
    SwapOutcome,
)
from starter.lateness import LatePayers
from starter.liquidity import PlanSummary
from starter.reconciliation import ReconciliationBegun
from starter.schedules import ScheduleChange, ScheduleFile, ScheduleSummary
from starter.summaries import (
    EventSummary,
    InvoiceSummary,
    LeaseSummary,
    PaymentSummary,
    RebalanceSummary,
    SwapSummary,
)

FOLDER = Path(__file__).parent.parent / "docs" / "api"

_CLOSED = ("additionalProperties", False)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What callers send: a field with a default may be left out.
_INPUTS: tuple[type[Model], ...] = (
    PaymentRequest,
    Approval,
    Rejection,
    Cancellation,
    InvoiceRequest,
    Settlement,
    InvoiceCancellation,
    Decision,
    RelayRequest,
    RelayCancellation,
    RebalanceRequest,
    RebalanceCancellation,
    StuckRequest,
    LadderPolicy,
    CloseRequest,
    BudgetSetting,
    BudgetRelease,
    BudgetPolicy,
    LeaseRequest,
    LeaseCancellation,
    LiquidityRequest,
    LiquidityPolicy,
    PlanApproval,
    SwapRequest,
    SwapSequenceRequest,
    SequenceChange,
    Word,
    Adoption,
    Abandonment,
    Reconciliation,
    ScheduleFile,
)
# What they get: every field is there.
_RESULTS: tuple[type[Model], ...] = (
    Receipt,
    PaymentView,
    PaymentSummary,
    CreatedInvoice,
    InvoiceReceipt,
    InvoiceView,
    InvoiceSummary,
    RelayReceipt,
    RelayView,
    OnChain,
    BudgetView,
    Refusal,
    RebalanceReceipt,
    RebalanceView,
    RebalanceSummary,
    LadderReceipt,
    LadderView,
    CloseReceipt,
    CloseView,
    LeaseReceipt,
    LeaseView,
    LeaseSummary,
    LeaseOutcome,
    LeasePlan,
    LiquidityPlan,
    PlanSummary,
    SwapReceipt,
    SwapView,
    SwapSummary,
    SwapPlan,
    SwapOutcome,
    SequenceReceipt,
    SequenceView,
    SequenceOutcome,
    WatchView,
    NodeChannels,
    EventReceipt,
    EventSummary,
    Outcome,
    InvoiceOutcome,
    LadderOutcome,
    LadderPlan,
    RebalanceOutcome,
    RebalancePlan,
    CloseOutcome,
    ClosePlan,
    LatePayers,
    ReplayReport,
    ReconciliationReport,
    ReconciliationBegun,
    ScheduleChange,
    ScheduleSummary,
    Problem,
    Proof,
    PublicKey,
)


def schemas() -> dict[str, str]:
    """File name → text, the same for the same models on every machine."""
    texts = {_file_name(model): _text(model, "validation") for model in _INPUTS}
    texts |= {_file_name(model): _text(model, "serialization") for model in _RESULTS}
    return texts | {event_file_name(kind): _event_text(kind) for kind in EventType}


def stale(folder: Path = FOLDER) -> list[str]:
    """The files that are missing, differ from the models, or belong to no model."""
    wanted = schemas()
    found = {
        str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.schema.json")
    }
    return sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )


def write(folder: Path = FOLDER) -> list[str]:
    """Brings the folder up to date; gives the names of what changed."""
    changed = stale(folder)
    wanted = schemas()
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(wanted[name])
        else:
            (folder / name).unlink()
    return changed


def _file_name(model: type[Model]) -> str:
    return f"{re.sub(r'(?<!^)(?=[A-Z])', '-', model.__name__).lower()}.schema.json"


def event_file_name(kind: EventType) -> str:
    return f"events/{kind}.v{CATALOGUE[kind].version}.schema.json"


def _text(model: type[Model], mode: JsonSchemaMode) -> str:
    return _printed(model.model_json_schema(mode=mode, schema_generator=_Generator))


def _event_text(kind: EventType) -> str:
    """The whole body of a webhook of this type, as `activities.events` sends it."""
    known = CATALOGUE[kind]
    body = Event.model_json_schema(mode="serialization", schema_generator=_Generator)
    data = known.data.model_json_schema(mode="serialization", schema_generator=_Generator)
    fields = body["properties"]
    # Between ourselves: which event has to be delivered before.
    del fields["after"]
    body["required"].remove("after")
    fields["type"] = {"const": kind.value}
    fields["version"] |= {"const": known.version}
    fields["data"] = {"$ref": f"#/$defs/{known.data.__name__}"}
    body |= {
        "title": kind.value,
        "description": known.means,
        "$defs": data.pop("$defs", {}) | {known.data.__name__: data},
    }
    return _printed(_open(body))


def _open(schema: Any) -> Any:
    """Lets fields be there that are not: a new one is no new version, and breaks no receiver."""
    if isinstance(schema, list):
        return [_open(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: each for name, each in schema.items() if (name, each) != _CLOSED}
    return {name: _open(each) for name, each in kept.items()}


def _printed(schema: dict[str, Any]) -> str:
    return (
        json.dumps({"$schema": _DIALECT, **schema}, indent=2, sort_keys=True, ensure_ascii=False)
        + "\n"
    )


class _Generator(GenerateJsonSchema):
    """Requires of a result what every result has: all of its fields."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)


def main(arguments: list[str]) -> str | None:
    """What to say on stderr before failing, or None."""
    match arguments:
        case []:
            write()
            return None
        case ["--check"]:
            names = ", ".join(stale())
            return f"stale in docs/api: {names}; run `python -m starter.schemas`" if names else None
        case _:
            return "usage: python -m starter.schemas [--check]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
