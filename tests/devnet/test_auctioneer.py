"""What the small auctioneer has to get right before any poold is asked."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from coincurve import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from devnet.auctioneer.journal import Account, Journal, Life
from devnet.auctioneer.musig2 import CombinedKey, MuSig2Error, Nonces, Session
from devnet.auctioneer.scripts import AccountLock, batch_key, funding_script
from devnet.auctioneer.transaction import Input, OutPoint, Output, Transaction

KEYS = st.integers(1, 2**255).map(PrivateKey.from_int)


@given(one=KEYS, other=KEYS, root=st.binary(min_size=32, max_size=32))
@settings(max_examples=50)
def test_two_halves_make_a_signature_that_bip_340_knows(
    one: PrivateKey, other: PrivateKey, root: bytes
) -> None:
    """Whatever the parities are: `combine` asks libsecp256k1 whether it is one."""
    message = secrets.token_bytes(32)
    key = CombinedKey.of([k.public_key.format() for k in (one, other)], root)
    nonces = Nonces.fresh(), Nonces.fresh()
    session = Session(key, [each.public for each in nonces], message)

    halves = [session.sign(*each) for each in zip((one, other), nonces, strict=True)]

    assert len(session.combine(halves)) == 64
    with pytest.raises(MuSig2Error, match="do not fit"):
        session.combine([halves[0], halves[0]])
    with pytest.raises(MuSig2Error, match="signed before"):
        session.sign(one, nonces[0])


def test_trader_and_auctioneer_lock_an_account_alike_and_each_life_anew() -> None:
    trader, auctioneer, base = PrivateKey(), PrivateKey(), PrivateKey().public_key
    key = trader.public_key.format()
    locks = [
        AccountLock.between(key, auctioneer, batch_key(base, spends), 1_000) for spends in (0, 1)
    ]
    # Both ends of the ECDH come to one secret.
    assert locks[0].secret == trader.ecdh(auctioneer.public_key.format())
    assert locks[0].script != locks[1].script
    assert len(locks[0].script) == 34


def test_a_transaction_is_in_the_order_of_bip_69() -> None:
    inputs = [
        Input(OutPoint("22" * 32, 0), Output(1, b"a")),
        Input(OutPoint("11" * 32, 1), Output(5, b"b")),
    ]
    transaction = Transaction.of(inputs, [Output(3, b"z"), Output(3, b"a"), Output(2, b"z")])

    assert [each.outpoint.index for each in transaction.inputs] == [1, 0]
    assert transaction.outputs == (Output(2, b"z"), Output(3, b"a"), Output(3, b"z"))
    assert transaction.fee_sat == 6 - 8


def test_witnesses_do_not_change_the_txid() -> None:
    bare = Transaction.of([Input(OutPoint("11" * 32, 1), Output(5, b"b"))], [Output(2, b"z")])
    signed = bare.witnessed([b"s" * 64])
    assert signed.txid == bare.txid
    assert len(signed.serialize()) == len(bare.serialize()) + 2 + 1 + 1 + 64


def test_a_channel_is_the_same_from_either_end() -> None:
    one, other = b"\x02" + b"a" * 32, b"\x03" + b"b" * 32
    assert funding_script(one, other) == funding_script(other, one)


def test_the_journal_has_what_was_saved_and_keeps_it_to_itself(tmp_path: Path) -> None:
    file = tmp_path / "journal.json"
    journal = Journal(file)
    life = Life(txid="11" * 32, index=0, value_sat=500_000, expiry=4_000, spends=0)
    account = Account(trader_key="02" * 33, height_hint=1, value_sat=1, expiry=2, life=life)
    journal.book.accounts[account.trader_key] = account
    journal.save()

    again = Journal(file)

    assert again.book == journal.book
    assert again.private_key == journal.private_key
    assert file.stat().st_mode & 0o077 == 0
