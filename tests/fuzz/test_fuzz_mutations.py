"""The mutator itself: every kind of file is changed, and one seed gives one mutation."""

from __future__ import annotations

import random

from tests.fuzz.mutations import mutate


def test_a_seed_gives_one_mutation_and_most_mutations_change_the_file():
    content = b"DimSize = 4 5 6\nElementSpacing = 0.5 1 2\n" + bytes(100)
    mutated = [mutate(content, random.Random(seed)) for seed in range(200)]
    assert mutated == [mutate(content, random.Random(seed)) for seed in range(200)]
    assert len(set(mutated)) > 150


def test_an_empty_file_stays_harmless():
    assert all(isinstance(mutate(b"", random.Random(seed)), bytes) for seed in range(200))
