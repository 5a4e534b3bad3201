"""The fuzzers' targets without a fuzzer: every seed, and some thousand mutations of them."""

from __future__ import annotations

import random

import pytest

from fuzz.seeds import SEEDS, TOKENS
from fuzz.targets import TARGETS

_MUTATIONS = 3_000


@pytest.mark.parametrize("name", SEEDS)
def test_every_seed_keeps_what_the_target_promises(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", SEEDS)
def test_mutated_seeds_keep_it_too(name: str) -> None:
    chance = random.Random(name)
    for _ in range(_MUTATIONS):
        data = bytearray(chance.choice(SEEDS[name]))
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(data))
            match chance.randrange(4):
                case 0:
                    data[at:at] = chance.choice(TOKENS[name])
                case 1:
                    data[at:at] = chance.randbytes(1)
                case 2:
                    del data[at : at + chance.randint(1, 4)]
                case _:
                    data[at:] = chance.choice(SEEDS[name])[at:]
        TARGETS[name](bytes(data))


def test_there_is_a_seed_and_a_vocabulary_for_every_target() -> None:
    assert SEEDS.keys() == TARGETS.keys() == TOKENS.keys()
