"""Each parser of outside input for a moment: the corpus, and random changes of it. `make fuzz` takes minutes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target

BY_NAME = [pytest.param(target, id=target.name) for target in TARGETS]


@pytest.mark.parametrize("target", BY_NAME)
def test_what_was_found_once_is_refused_in_the_parsers_own_words(target: Target) -> None:
    for content in target.corpus():
        target.attempt(content)


@pytest.mark.parametrize("target", BY_NAME)
@given(seed=st.integers())
def test_no_input_raises_what_the_parser_does_not_declare(target: Target, seed: int) -> None:
    corpus = target.corpus()
    chance = random.Random(seed)
    target.attempt(mutated(chance.choice(corpus), chance, corpus))
