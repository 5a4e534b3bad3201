"""Hashes, keys and channels have one form inside, whatever came from outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fulgurite import ids
from fulgurite.identity import ChannelId, NodePubkey, PaymentHash

channel_numbers = st.integers(min_value=0, max_value=2**64 - 1)
A_HASH = "ab" * 32
A_KEY = "02" + "ab" * 32


@given(st.binary(min_size=32, max_size=32))
def test_a_hash_is_the_same_in_every_case_and_as_bytes(raw: bytes) -> None:
    assert PaymentHash.of_bytes(raw) == PaymentHash(raw.hex().upper()) == raw.hex()
    assert PaymentHash.of_bytes(raw).raw() == raw


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "zz" * 32, A_HASH + "\n", " " + A_HASH])
def test_what_is_no_hash_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="64 hex") as caught:
        PaymentHash(text)
    # Somebody may have put a preimage or a macaroon there.
    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.parametrize("text", ["04" + "ab" * 32, "ab" * 32, "02" + "ab" * 31])
def test_what_is_no_compressed_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="begin with 02 or 03"):
        NodePubkey(text)


def test_hashes_and_keys_are_validated_and_lowered_in_json() -> None:
    assert TypeAdapter(PaymentHash).validate_json(f'"{A_HASH.upper()}"') == A_HASH
    assert TypeAdapter(NodePubkey).validate_json(f'"{A_KEY.upper()}"') == A_KEY
    for wrong in ('"ab"', "12", "null"):
        with pytest.raises(ValidationError):
            TypeAdapter(PaymentHash).validate_json(wrong)


@given(channel_numbers)
def test_the_three_forms_of_a_channel_id_are_one(number: int) -> None:
    channel = ChannelId.of_number(number)

    assert channel.number == number
    assert ChannelId(str(number)) == channel
    assert ChannelId(channel.replace("x", ":")) == channel
    assert ChannelId(channel) == channel
    assert TypeAdapter(ChannelId).dump_json(channel) == f'"{channel}"'.encode()


@given(st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1), st.integers(0, 2**16 - 1))
def test_a_channel_id_reads_as_block_transaction_and_output(
    block: int, transaction: int, output: int
) -> None:
    channel = ChannelId(f"{block}x{transaction}x{output}")

    assert channel.number == block << 40 | transaction << 16 | output


@pytest.mark.parametrize(
    "text",
    ["", "1x2", "1x2:3", "1x2x3x4", "-1", "1.5", str(2**64), "16777216x0x0", "0x0x65536", "axbxc"],
)
def test_what_is_no_channel_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="channel id"):
        ChannelId(text)


def test_a_channel_id_in_json_is_a_string_because_numbers_end_at_2_to_53() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ChannelId).validate_json("123")


def test_a_payment_is_found_by_its_hash_and_by_nothing_else() -> None:
    payment_hash = PaymentHash(A_HASH)

    assert ids.payment_id(payment_hash) == f"payment/{A_HASH}"
    assert ids.hash_of_payment_id(f"payment/{A_HASH}") == payment_hash
    for other in (A_HASH, f"invoice/{A_HASH}", "payment/1"):
        with pytest.raises(ValueError, match=r"payment"):
            ids.hash_of_payment_id(other)
