"""The ledger knows the rules of the chain by itself, and contradicts who breaks them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from devnet.simulated.ledger import Ledger
from devnet.simulated.onchain.transactions import (
    Draw,
    HtlcTerms,
    Outpoint,
    Output,
    OutputKind,
    Spend,
    Transaction,
)

CHANNEL = 7
PREIMAGE = b"\1" * 32
HASH = hashlib.sha256(PREIMAGE).digest()
EXPIRY_HEIGHT = 20

FUNDING = Transaction(
    "alice",
    "",
    spends=(),
    draws=(Draw("alice", 1_000),),
    outputs=(Output(OutputKind.FUNDING, "alice", 1_000),),
    fee_sat=0,
    weight=1,
)
TERMS = HtlcTerms("alice", "bob", HASH, 100_000, EXPIRY_HEIGHT)
CLOSING = Transaction(
    "alice",
    "",
    spends=(Spend(FUNDING.outpoint(0), "alice"),),
    draws=(),
    outputs=(
        Output(OutputKind.TO_LOCAL, "alice", 500, csv_blocks=4),
        Output(OutputKind.TO_REMOTE, "bob", 300),
        Output(OutputKind.HTLC, "alice", 100, htlc=TERMS),
    ),
    fee_sat=100,
    weight=1,
)


def sweep(outpoint: Outpoint, by: str, amount_sat: int, **spend: bytes) -> Transaction:
    """Takes an output of `amount_sat` into a wallet, for 10 sat."""
    return Transaction(
        by,
        "",
        spends=(Spend(outpoint, by, **spend),),
        draws=(),
        outputs=(Output(OutputKind.WALLET, by, amount_sat - 10),),
        fee_sat=10,
        weight=1,
    )


@pytest.fixture
def coins() -> dict[str, int]:
    """What an engine says that each node has on chain."""
    return {"alice": 9_000, "bob": 0}


@pytest.fixture
def ledger(coins: dict[str, int]) -> Ledger:
    """A channel of alice's, 700 sat on her side and 300 on bob's."""
    kept = Ledger(dict, lambda: coins)
    kept.coins_given("alice", 10_000)
    kept.coins_given("bob", 0)
    kept.chain.block_connected(1, [FUNDING])
    kept.channel_opened(
        CHANNEL, {"alice": 700_000, "bob": 300_000}, funding=FUNDING.outpoint(0), opener="alice"
    )
    kept.assert_balanced()
    return kept


def test_a_close_turns_sides_into_coins_and_a_fee(ledger: Ledger, coins: dict[str, int]) -> None:
    ledger.chain.block_connected(10, [CLOSING])
    coins |= {"alice": 9_600, "bob": 300}
    ledger.assert_balanced()
    assert (ledger.balance_msat("alice", CHANNEL), ledger.balance_msat("bob", CHANNEL)) == (0, 0)
    assert (ledger.miners_msat("alice"), ledger.miners_msat("bob")) == (100_000, 0)


def test_a_claim_is_a_hop_that_settles(ledger: Ledger, coins: dict[str, int]) -> None:
    ledger.chain.block_connected(10, [CLOSING])
    claim = sweep(CLOSING.outpoint(2), "bob", 100, preimage=PREIMAGE)
    ledger.chain.block_connected(11, [claim])
    coins |= {"alice": 9_500, "bob": 390}
    ledger.assert_balanced()
    assert (ledger.sent_msat("alice", HASH), ledger.received_msat("bob", HASH)) == (100_000,) * 2
    assert ledger.miners_msat("bob") == 10_000


def test_a_reorg_is_booked_backwards(ledger: Ledger, coins: dict[str, int]) -> None:
    claim = sweep(CLOSING.outpoint(2), "bob", 100, preimage=PREIMAGE)
    ledger.chain.block_connected(10, [CLOSING])
    ledger.chain.block_connected(11, [claim])
    ledger.chain.block_disconnected([claim])
    ledger.chain.block_disconnected([CLOSING])
    coins |= {"alice": 9_000, "bob": 0}
    ledger.assert_balanced()
    assert ledger.sent_msat("alice", HASH) == 0
    assert ledger.balance_msat("alice", CHANNEL) == 700_000


def test_a_difference_of_one_satoshi_is_found(ledger: Ledger, coins: dict[str, int]) -> None:
    coins["bob"] = 1
    with pytest.raises(AssertionError, match="can claim 1 sat on the chain"):
        ledger.assert_balanced()


@pytest.mark.parametrize(
    ("wrong", "height", "text"),
    [
        (sweep(CLOSING.outpoint(0), "alice", 500), 13, "before its delay is over"),
        (sweep(CLOSING.outpoint(1), "alice", 300), 14, "alice takes what is bob's"),
        (sweep(CLOSING.outpoint(2), "alice", 100), EXPIRY_HEIGHT, "before it has expired"),
        (sweep(CLOSING.outpoint(2), "bob", 100), 14, "bob takes what is alice's"),
        (sweep(CLOSING.outpoint(2), "bob", 100, preimage=bytes(32)), 14, "without its secret"),
        (sweep(CLOSING.outpoint(2), "carol", 100, preimage=PREIMAGE), 14, "without its secret"),
        (sweep(CLOSING.outpoint(5), "alice", 100), 14, "was never there"),
        (
            replace(sweep(CLOSING.outpoint(1), "bob", 300), fee_sat=9),
            14,
            "creates or loses coins",
        ),
    ],
)
def test_who_breaks_a_rule_is_found(
    ledger: Ledger, wrong: Transaction, height: int, text: str
) -> None:
    ledger.chain.block_connected(10, [CLOSING])
    with pytest.raises(AssertionError, match=text):
        ledger.chain.block_connected(height, [wrong])


def test_nobody_sweeps_twice(ledger: Ledger) -> None:
    ledger.chain.block_connected(10, [CLOSING])
    ledger.chain.block_connected(14, [sweep(CLOSING.outpoint(0), "alice", 500)])
    again = replace(sweep(CLOSING.outpoint(0), "alice", 500), salt=1)
    with pytest.raises(AssertionError, match="is spent twice"):
        ledger.chain.block_connected(15, [again])


def test_a_close_that_pays_an_end_more_than_it_had_is_found(ledger: Ledger) -> None:
    generous = replace(
        CLOSING,
        outputs=(
            Output(OutputKind.TO_LOCAL, "alice", 500),
            Output(OutputKind.TO_REMOTE, "bob", 400),
        ),
    )
    with pytest.raises(AssertionError, match="bob takes more out of channel"):
        ledger.chain.block_connected(10, [generous])


def test_a_channel_is_worth_its_output(ledger: Ledger) -> None:
    other = replace(FUNDING, salt=1)
    ledger.chain.block_connected(2, [other])
    with pytest.raises(AssertionError, match="holds more or less than its output"):
        ledger.channel_opened(8, {"alice": 1, "bob": 0}, funding=other.outpoint(0), opener="alice")
