"""Values that are far from the others: modified z-scores, which outliers themselves do not distort.

Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): scores above 3.5 are outliers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OUTLYING_Z = 3.5
FEWEST_FOR_OUTLIERS = 5  # fewer values have no meaningful outliers


def modified_z(values: Sequence[float]) -> np.ndarray:
    """How far each value is from the median, in robust standard deviations; zeros if all are equal.

    >>> modified_z([1, 2, 3, 4, 100]).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, 65.43]
    """
    away = np.asarray(values, float) - np.median(values)
    spread = np.median(np.abs(away)) / 0.6745
    if spread == 0:  # more than half are equal: the mean absolute deviation separates the others
        spread = 1.253314 * np.abs(away).mean()
    return away / spread if spread else np.zeros_like(away)
