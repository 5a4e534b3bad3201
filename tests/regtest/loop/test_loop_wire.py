"""Our protos of Loop, for who swaps and for its server, against the pinned loopd's own."""

from __future__ import annotations

import subprocess

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from devnet.daemons import find
from protos.looprpc import client_pb2
from protos.swapserverrpc import server_pb2
from tests.regtest.test_wire import disagreements, facts

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.timeout(1800),  # the first time it builds the printer
]


def test_every_fact_of_our_loop_protos_is_one_of_the_pinned_loopd() -> None:
    printed = subprocess.run([find("loop-descriptors")], capture_output=True, check=True).stdout
    theirs = facts(FileDescriptorSet.FromString(printed).file)
    ours = []
    for module in (client_pb2, server_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        ours.append(file)

    assert theirs["looprpc.SwapStatus.cost_onchain"], "the printer printed something else"
    assert disagreements(facts(ours), theirs) == []
