"""Files are named after cases, so a case's name is a plain file name."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.data.case import CaseFiles
from helpers.errors import DataError


@pytest.mark.parametrize("name", ["", ".", "..", "../evil", "/etc/passwd", "a/b", "a\0b", "case/"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(DataError, match="a case's name cannot name its mask"):
        CaseFiles(name, {"image": Path("x.nii.gz")})


@pytest.mark.parametrize("name", ["BraTS-GLI-00001-000", "a b", "=1+1", "*", "[a]", "..a", "-rf", "\u00e4"])
def test_any_other_name_is_a_name(name):
    assert CaseFiles(name, {}).id == name
