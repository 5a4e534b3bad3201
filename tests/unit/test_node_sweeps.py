"""What a close has brought back and cost, from the wallet's transactions alone.

The figures are of real closes on regtest, where the wallet's balance agreed to the sat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fulgurite.identity import Outpoint, Txid
from nodes.lnd.sweeps import WalletTransactions
from protos.lnrpc import lightning_pb2

CLOSING, OTHER = Txid("c1" * 32), Txid("c2" * 32)
COIN = "ee" * 32


def output_of(txid: str, index: int) -> Outpoint:
    return Outpoint(f"{txid}:{index}")


def transaction(
    name: str,
    amount: int,
    spends: Sequence[str],
    pays: Sequence[tuple[int, bool]],
    *,
    confirmed: bool = True,
) -> lightning_pb2.Transaction:
    """`spends` coins of the wallet where it names COIN; `pays` (sat, to the wallet)."""
    return lightning_pb2.Transaction(
        tx_hash=name * 32,
        amount=amount,
        num_confirmations=int(confirmed),
        previous_outpoints=[
            lightning_pb2.PreviousOutPoint(outpoint=each, is_our_output=each.startswith(COIN))
            for each in spends
        ],
        output_details=[
            lightning_pb2.OutputDetail(output_index=index, amount=sat, is_our_address=ours)
            for index, (sat, ours) in enumerate(pays)
        ],
    )


def worth(**known: int) -> Callable[[Outpoint], int | None]:
    """`c1_4=…`: output 4 of the transaction c1…"""
    by_outpoint = {
        output_of(name.partition("_")[0] * 32, int(name.partition("_")[2])): sat
        for name, sat in known.items()
    }
    return by_outpoint.get


COMMIT = transaction("a1", 908_847, [f"{CLOSING}:4"], [(908_847, True)])
TIMEOUT = transaction(
    "a2", -270, [f"{CLOSING}:2", f"{COIN}:0"], [(300_031, False), (908_577, True)]
)
SECOND = transaction("a3", 299_896, [f"{'a2' * 32}:0"], [(299_896, True)])
ANCHOR = transaction("a4", -4_201, [f"{CLOSING}:0", f"{COIN}:1"], [(97_995_470, True)])


def test_a_timed_out_htlc_comes_back_in_two_stages() -> None:
    wallet = WalletTransactions([SECOND, TIMEOUT, COMMIT])

    swept = wallet.swept(CLOSING, worth(c1_4=908_982))

    assert swept.recovered_sat == 908_847 - 270 + 299_896
    assert swept.fees_sat == 135 + 270 + 135
    assert [(each.outpoint, each.worth_sat, each.passed_on) for each in swept.outputs] == [
        (output_of(CLOSING, 2), 300_031, True),
        (output_of("a2" * 32, 0), 300_031, False),
        (output_of(CLOSING, 4), 908_982, False),
    ]


def test_a_second_stage_that_still_waits_is_not_back() -> None:
    swept = WalletTransactions([TIMEOUT]).swept(CLOSING, worth())

    assert (swept.recovered_sat, swept.fees_sat) == (-270, 270)


def test_an_anchor_that_comes_back_is_no_part_of_the_fee() -> None:
    swept = WalletTransactions([ANCHOR]).swept(CLOSING, worth(c1_0=330))

    assert swept.recovered_sat == -4_201
    assert swept.fees_sat == 4_531 - 330


def test_an_unconfirmed_sweep_counts_for_nothing() -> None:
    """Each that was replaced by one with more fee stays in the wallet's list for a while."""
    waiting = transaction("a1", 908_847, [f"{CLOSING}:4"], [(908_847, True)], confirmed=False)

    swept = WalletTransactions([waiting]).swept(CLOSING, worth(c1_4=908_982))

    assert (swept.recovered_sat, swept.fees_sat, swept.outputs) == (0, 0, ())


BOTH_COMMITS = transaction("b1", 897_169, [f"{CLOSING}:2", f"{OTHER}:2"], [(897_169, True)])
BOTH_TIMEOUTS = transaction(
    "b2",
    -423,
    [f"{OTHER}:3", f"{CLOSING}:3", f"{COIN}:0"],
    [(750_000, False), (750_000, False), (896_746, True)],
)
BOTH_SECONDS = transaction(
    "b3", 1_499_787, [f"{'b2' * 32}:0", f"{'b2' * 32}:1"], [(1_499_787, True)]
)


def test_channels_that_are_swept_together_share_the_fee_to_the_sat() -> None:
    wallet = WalletTransactions([BOTH_SECONDS, BOTH_TIMEOUTS, BOTH_COMMITS])
    known = worth(c1_2=448_692, c2_2=448_690)

    one, other = (wallet.swept(txid, known) for txid in (CLOSING, OTHER))

    assert one.recovered_sat + other.recovered_sat == 897_169 - 423 + 1_499_787
    assert one.fees_sat + other.fees_sat == 213 + 423 + 213
    assert abs(one.fees_sat - other.fees_sat) <= 3
    # Each has its own second stage, by the number of its input.
    assert output_of("b2" * 32, 1) in [each.outpoint for each in one.outputs]
    assert output_of("b2" * 32, 0) in [each.outpoint for each in other.outputs]


def test_what_was_swept_together_with_something_unknown_is_not_guessed() -> None:
    swept = WalletTransactions([BOTH_COMMITS]).swept(CLOSING, worth(c1_2=448_692))

    assert (swept.recovered_sat, swept.fees_sat, swept.unexplained_sat) == (0, 0, 0)
    assert [each.outpoint for each in swept.outputs] == [output_of(CLOSING, 2)]


def test_a_justice_transaction_brings_what_it_brings_though_nobody_knows_its_inputs() -> None:
    justice = transaction("a9", 1_990_380, [f"{CLOSING}:2", f"{CLOSING}:3"], [(1_990_380, True)])

    swept = WalletTransactions([justice]).swept(CLOSING, worth())

    assert (swept.recovered_sat, swept.fees_sat) == (0, 0)
    assert swept.unexplained_sat == 1_990_380
    assert [each.worth_sat for each in swept.outputs] == [None, None]


def test_the_closing_transaction_itself_says_what_its_outputs_hold() -> None:
    closing = transaction(
        "c1",
        0,
        [f"{'ff' * 32}:0"],
        [(330, False), (330, False), (300_031, False), (790_000, False), (908_982, False)],
        confirmed=False,
    )

    swept = WalletTransactions([closing, COMMIT]).swept(CLOSING, worth())

    assert (swept.recovered_sat, swept.fees_sat) == (908_847, 135)


def test_a_second_stage_is_known_by_its_parent() -> None:
    wallet = WalletTransactions([BOTH_TIMEOUTS])

    assert wallet.next_stages(CLOSING) == [output_of("b2" * 32, 1)]
    assert wallet.next_stages(OTHER) == [output_of("b2" * 32, 0)]
    assert wallet.next_stages(Txid("b2" * 32)) == []


def test_a_coin_that_came_of_a_close_pays_for_another_channels_sweep() -> None:
    timeout = transaction("a2", -270, [f"{OTHER}:2"], [(300_031, False), (908_577, True)])
    timeout.previous_outpoints.append(
        lightning_pb2.PreviousOutPoint(outpoint=f"{CLOSING}:0", is_our_output=True)
    )
    wallet = WalletTransactions([timeout])

    paying, paid = (wallet.swept(txid, worth(c2_2=300_031)) for txid in (CLOSING, OTHER))

    assert (paying.recovered_sat, paying.fees_sat, paying.outputs) == (0, 0, ())
    assert [each.outpoint for each in paid.outputs][:1] == [output_of(OTHER, 2)]
    assert paid.fees_sat == 270


def test_a_coinbase_spends_nothing() -> None:
    mined = transaction("d1", 50, [f"{'00' * 32}:4294967295"], [(50, True)])

    assert WalletTransactions([mined]).swept(Txid("00" * 32), worth()).outputs == ()
