"""Our protos of Pool against poold's own descriptors: a part of them, and equal in that part."""

from __future__ import annotations

import subprocess

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from devnet.daemons import find
from protos.auctioneerrpc import auctioneer_pb2
from protos.poolrpc import shared_pb2, trader_pb2
from tests.regtest.test_wire import disagreements, facts


@pytest.mark.regtest
@pytest.mark.timeout(900)  # the first time it builds the printer
def test_every_fact_of_our_protos_is_one_of_the_pinned_poold() -> None:
    ours = []
    for module in (shared_pb2, trader_pb2, auctioneer_pb2):
        ours.append(FileDescriptorProto())
        module.DESCRIPTOR.CopyToProto(ours[-1])
    printed = subprocess.run([find("pool-descriptors")], capture_output=True, check=True).stdout
    theirs = facts(FileDescriptorSet.FromString(printed).file)

    assert theirs["poolrpc.AccountDiff.ending_balance"], "the printer printed something else"
    assert disagreements(facts(ours), theirs) == []
