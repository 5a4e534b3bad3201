"""Our protos against lnd's own descriptors: a part of them, and equal in that part."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from devnet.daemons import find
from protos.chainrpc import chainnotifier_pb2
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2, stateservice_pb2
from protos.routerrpc import router_pb2
from protos.signrpc import signer_pb2
from protos.walletrpc import walletkit_pb2

OURS = (
    *(lightning_pb2, stateservice_pb2, router_pb2, invoices_pb2),
    *(chainnotifier_pb2, walletkit_pb2, signer_pb2),
)


@dataclass(frozen=True)
class Field:
    """All of a message's field that reaches the wire, or its JSON through the oneof."""

    number: int
    type: str
    label: str
    message_or_enum: str
    oneof: str
    optional: bool


@dataclass(frozen=True)
class Method:
    takes: str
    gives: str
    streams_in: bool
    streams_out: bool


@dataclass(frozen=True)
class MessageType:
    """That it is there; a map is an entry message of its own, marked as such."""

    map_entry: bool


Fact = Field | Method | MessageType | int


def facts(files: Iterable[FileDescriptorProto]) -> dict[str, Fact]:
    """Every fact by its full name: messages, fields, enum values (numbers) and methods."""
    return {name: fact for file in files for name, fact in _file(file)}


def disagreements(ours: dict[str, Fact], theirs: dict[str, Fact]) -> list[str]:
    """One line for every fact of ours that is not theirs; empty when ours is a part of it."""
    return [
        f"{name}: ours is {fact}, theirs {theirs.get(name, 'has no such name')}"
        for name, fact in sorted(ours.items())
        if theirs.get(name) != fact
    ]


def _file(file: FileDescriptorProto) -> Iterator[tuple[str, Fact]]:
    for message in file.message_type:
        yield from _message(file.package, message)
    for enum in file.enum_type:
        yield from _enum(file.package, enum)
    for service in file.service:
        yield from _service(file.package, service)


def _message(scope: str, message: DescriptorProto) -> Iterator[tuple[str, Fact]]:
    name = f"{scope}.{message.name}"
    yield name, MessageType(message.options.map_entry)
    for field in message.field:
        yield f"{name}.{field.name}", _field(message, field)
    for nested in message.nested_type:
        yield from _message(name, nested)
    for enum in message.enum_type:
        yield from _enum(name, enum)


def _field(message: DescriptorProto, field: FieldDescriptorProto) -> Field:
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return Field(
        number=field.number,
        type=FieldDescriptorProto.Type.Name(field.type),
        label=FieldDescriptorProto.Label.Name(field.label),
        message_or_enum=field.type_name,
        oneof=oneof,
        optional=field.proto3_optional,
    )


def _enum(scope: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, Fact]]:
    for value in enum.value:
        yield f"{scope}.{enum.name}.{value.name}", value.number


def _service(scope: str, service: ServiceDescriptorProto) -> Iterator[tuple[str, Fact]]:
    for method in service.method:
        yield (
            f"/{scope}.{service.name}/{method.name}",
            Method(
                takes=method.input_type,
                gives=method.output_type,
                streams_in=method.client_streaming,
                streams_out=method.server_streaming,
            ),
        )


def _our_files() -> list[FileDescriptorProto]:
    files = []
    for module in OURS:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return files


@pytest.mark.regtest
@pytest.mark.timeout(900)  # the first time it builds the printer
def test_every_fact_of_our_protos_is_one_of_the_pinned_lnd() -> None:
    printed = subprocess.run([find("lnd-descriptors")], capture_output=True, check=True).stdout
    theirs = facts(FileDescriptorSet.FromString(printed).file)

    assert theirs["lnrpc.Payment.failure_reason"], "the printer printed something else"
    assert disagreements(facts(_our_files()), theirs) == []


def _renumber_fee(lightning: FileDescriptorProto) -> str:
    _field_of(lightning, "Payment", "fee_msat").number = 11
    return "lnrpc.Payment.fee_msat"


def _sign_a_number(lightning: FileDescriptorProto) -> str:
    _field_of(lightning, "Payment", "payment_index").type = FieldDescriptorProto.TYPE_INT64
    return "lnrpc.Payment.payment_index"


def _make_singular(lightning: FileDescriptorProto) -> str:
    _field_of(lightning, "Payment", "htlcs").label = FieldDescriptorProto.LABEL_OPTIONAL
    return "lnrpc.Payment.htlcs"


def _take_out_of_oneof(lightning: FileDescriptorProto) -> str:
    _field_of(lightning, "ChannelPoint", "funding_txid_str").ClearField("oneof_index")
    return "lnrpc.ChannelPoint.funding_txid_str"


def _rename_field(lightning: FileDescriptorProto) -> str:
    _field_of(lightning, "Invoice", "value_msat").name = "amount_msat"
    return "lnrpc.Invoice.amount_msat"


def _renumber_enum_value(lightning: FileDescriptorProto) -> str:
    reasons = next(e for e in lightning.enum_type if e.name == "PaymentFailureReason")
    reasons.value[1].number = 7
    return "lnrpc.PaymentFailureReason.FAILURE_REASON_TIMEOUT"


def _stream_an_answer(lightning: FileDescriptorProto) -> str:
    service = lightning.service[0]
    service.method[0].server_streaming = True
    return f"/lnrpc.Lightning/{service.method[0].name}"


@pytest.mark.parametrize(
    "mistake",
    [
        _renumber_fee,
        _sign_a_number,
        _make_singular,
        _take_out_of_oneof,
        _rename_field,
        _renumber_enum_value,
        _stream_an_answer,
    ],
)
def test_a_mistake_in_our_protos_is_found_and_named(
    mistake: Callable[[FileDescriptorProto], str],
) -> None:
    theirs = facts(_our_files())
    ours = _our_files()

    name = mistake(ours[0])

    (line,) = disagreements(facts(ours), theirs)
    assert line.startswith(f"{name}: ")


def test_a_map_agrees_in_its_key_and_value() -> None:
    theirs = facts(_our_files())
    ours = _our_files()
    request = next(m for m in ours[2].message_type if m.name == "SendPaymentRequest")
    request.nested_type[0].field[0].type = FieldDescriptorProto.TYPE_STRING

    (line,) = disagreements(facts(ours), theirs)
    assert line.startswith("routerrpc.SendPaymentRequest.DestCustomRecordsEntry.key: ")


def _field_of(file: FileDescriptorProto, message: str, field: str) -> FieldDescriptorProto:
    found = next(m for m in file.message_type if m.name == message)
    return next(f for f in found.field if f.name == field)
