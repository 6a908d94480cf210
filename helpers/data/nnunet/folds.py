"""nnU-Net's five folds: which cases a model was not trained on follows from the sorted ids alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from helpers.errors import DataError

SEED = 12345
N_FOLDS = 5


def split_fold(
    ids: Iterable[str], fold: int, n_folds: int = N_FOLDS, seed: int = SEED
) -> tuple[list[str], list[str]]:
    """Training and held-out ids of one fold, each sorted.

    The same as scikit-learn's `KFold(5, shuffle=True, random_state=12345)` over the sorted ids, which both versions
    of nnU-Net use: a shuffle of numpy's old generator, cut into five runs, the first ones longer by one if need be.

    Args:
        ids: of all training cases of the data set; those of a part of it give another split.
        fold: 0 to `n_folds` - 1.

    Raises:
        DataError: there is no such fold, or fewer cases than folds.
    """
    ordered = sorted(ids)
    if not 0 <= fold < n_folds or len(ordered) < n_folds:
        raise DataError(
            "the data set cannot be split so",
            received=f"fold {fold} of {len(ordered)} cases",
            expected=f"fold 0 to {n_folds - 1} of at least {n_folds} cases",
        )
    indices = np.arange(len(ordered))
    np.random.RandomState(seed).shuffle(indices)
    held_out = set(np.array_split(indices, n_folds)[fold].tolist())
    training = [name for index, name in enumerate(ordered) if index not in held_out]
    return training, [name for index, name in enumerate(ordered) if index in held_out]
