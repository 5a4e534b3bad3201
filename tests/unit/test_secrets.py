"""A preimage leaves the process sealed, or not at all."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from base64 import b64decode, b64encode

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from fulgurite.errors import InvalidRequestError
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.sealing import Sealed, SealingKey, UnsealingKey

SECRET = bytes(range(100, 132))
# Every form in which a secret could be recognized.
FORMS = (SECRET.hex(), SECRET.hex().upper(), b64encode(SECRET).decode(), repr(SECRET)[2:-1])


def shows(text: str) -> bool:
    return any(form in text for form in FORMS)


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    preimage: Preimage


@pytest.fixture
def preimage() -> Preimage:
    return Preimage(SECRET)


def test_no_way_of_printing_shows_a_preimage(preimage: Preimage) -> None:
    printed = [
        repr(preimage),
        str(preimage),
        f"{preimage} {preimage!r} {preimage!s:>40}",
        "%s %r" % (preimage, preimage),  # noqa: UP031 - one of the ways
        repr([preimage]),
        repr(Holder(preimage=preimage)),
    ]

    assert not any(map(shows, printed))


def test_no_exception_shows_a_preimage(preimage: Preimage) -> None:
    error = ValueError("cannot pay with", preimage)
    assert not shows("".join(traceback.format_exception(error)))
    with pytest.raises(ValueError, match="32 bytes") as caught:
        Preimage(SECRET + b"!")
    assert not shows(str(caught.value))


def test_a_preimage_is_not_pickled(preimage: Preimage) -> None:
    with pytest.raises(TypeError, match="seal it"):
        pickle.dumps(preimage)
    with pytest.raises(TypeError, match="seal it"):
        copy.deepcopy(preimage)


def test_a_preimage_has_no_json(preimage: Preimage) -> None:
    with pytest.raises(TypeError):
        json.dumps({"preimage": preimage})
    with pytest.raises(PydanticSerializationError) as caught:
        Holder(preimage=preimage).model_dump_json()
    assert not shows(str(caught.value))


def test_a_logger_that_is_handed_a_preimage_does_not_show_it(
    preimage: Preimage, caplog: pytest.LogCaptureFixture
) -> None:
    rendered = structlog.processors.JSONRenderer()(None, "", {"event": "x", "p": preimage})
    logging.getLogger("test").error("paid %s", preimage, extra={"p": preimage})

    assert not shows(str(rendered))
    assert not shows(caplog.text)


def test_a_preimage_settles_its_own_hash_only(preimage: Preimage) -> None:
    assert preimage.settles(preimage.hash())
    assert not preimage.settles(PaymentHash("00" * 32))
    assert preimage == Preimage(SECRET)
    assert preimage != Preimage.generate()
    assert preimage != SECRET
    assert len({preimage, Preimage(SECRET), Preimage.generate()}) == 2


@given(st.binary(min_size=32, max_size=32))
def test_what_is_sealed_can_be_opened_and_is_valid_as_a_field(secret: bytes) -> None:
    key = UnsealingKey.generate()
    sealed = SealingKey(key.sealing_key.text).seal(Preimage(secret))

    assert TypeAdapter(Sealed).validate_python(sealed) == sealed
    assert secret.hex() not in sealed
    assert b64encode(secret).decode().rstrip("=") not in sealed
    assert UnsealingKey(key.secret_text()).open(sealed).reveal() == secret


def test_each_sealing_looks_different(preimage: Preimage) -> None:
    key = UnsealingKey.generate().sealing_key

    assert key.seal(preimage) != key.seal(preimage)


def test_the_wrong_key_opens_nothing(preimage: Preimage) -> None:
    sealed = UnsealingKey.generate().sealing_key.seal(preimage)

    with pytest.raises(InvalidRequestError, match="sealed to another key"):
        UnsealingKey.generate().open(sealed)


@given(st.integers(0, 79), st.integers(0, 7))
def test_a_sealed_preimage_that_was_altered_is_refused(byte: int, bit: int) -> None:
    key = UnsealingKey.generate()
    raw = bytearray(b64decode(key.sealing_key.seal(Preimage(SECRET)).removeprefix("sealed1:")))
    raw[byte] ^= 1 << bit

    with pytest.raises(InvalidRequestError):
        key.open(f"sealed1:{b64encode(raw).decode()}")


@pytest.mark.parametrize(
    "text", ["", "sealed1:", "sealed1:AAAA", SECRET.hex(), "sealed2:" + "A" * 107 + "="]
)
def test_what_was_not_sealed_is_no_sealed_field(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Sealed).validate_python(text)
    with pytest.raises(InvalidRequestError):
        UnsealingKey.generate().open(text)


def test_no_way_of_printing_shows_an_unsealing_key() -> None:
    key = UnsealingKey(SECRET.hex())

    assert not any(map(shows, (repr(key), str(key), f"{key}", repr([key]))))


@pytest.mark.parametrize(
    "text", [SECRET.hex() + "00", SECRET.hex()[:-2], SECRET.hex()[:-1] + "g", ""]
)
def test_a_key_that_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="64 hex characters") as caught:
        UnsealingKey(text)
    # The cause is gone too: libsodium's or bytes.fromhex's message could quote the key.
    assert caught.value.__cause__ is None
    assert not text or text not in "".join(traceback.format_exception_only(caught.value))


def test_a_key_has_one_preimage_a_node_and_needs_the_private_key() -> None:
    ours, theirs = UnsealingKey.generate(), UnsealingKey.generate()

    assert ours.preimage_of("alice", "order-17") == ours.preimage_of("alice", "order-17")
    others = [
        ours.preimage_of("bob", "order-17"),
        ours.preimage_of("alice", "order-18"),
        theirs.preimage_of("alice", "order-17"),
    ]
    assert ours.preimage_of("alice", "order-17") not in others
