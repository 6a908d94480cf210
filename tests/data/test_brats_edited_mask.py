"""A BraTS mask that was edited by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.data.brats import mask_to_classes
from helpers.errors import DataError


def test_an_edited_mask_with_a_label_that_the_year_lacks_is_refused():
    for year, wrong in (("2018", 3), ("2018", 257), ("2018", 1.5), ("2023", 4)):
        with pytest.raises(DataError, match="does not define"):
            mask_to_classes(Path("edited.nii.gz"), np.array([0, 1, 2, wrong]), year)
    assert mask_to_classes(Path("m"), np.array([0, 4]), "2018").tolist() == [0, 3]
