"""The versions of the libraries that code uses are in the cache keys, and no library is forgotten."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from helpers.params.paths import PACKAGE_FOLDER
from helpers.run import libraries
from helpers.run.code import PASSIVE, CodeIndex
from helpers.run.libraries import DISTRIBUTIONS, library_versions
from helpers.scoring.dice import dice
from tests.run.counted_stage import Stage

# Modules of other packages that are imported by code that can change a result, and why they do not matter.
HARMLESS = {
    "IPython": "shows results",
    "acl": "a vendor's runtime, whose version the compiled model's key has",
    "ais_bench": "a vendor's runtime",
    "google": "protobuf: writes graphs, whose bytes are inputs of the next stage",
    "ipywidgets": "shows results",
    "magicmind": "a vendor's runtime, whose version the compiled model's key has",
    "psutil": "measures memory",
    "pydantic": "checks parameters, whose values are inputs",
    "yaml": "reads parameters and cards, whose values are inputs",
    "rich": "the bars of the progress of a library that draws its own",
}


def _imported_modules() -> set[str]:
    found = set()
    for path in PACKAGE_FOLDER.rglob("*.py"):
        if path.relative_to(PACKAGE_FOLDER).parts[0] in PASSIVE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"helpers"}


def test_every_library_is_in_the_keys_or_harmless_for_a_reason():
    assert _imported_modules() - DISTRIBUTIONS.keys() - HARMLESS.keys() == set()
    assert DISTRIBUTIONS.keys() & HARMLESS.keys() == set()


def test_the_libraries_of_this_environment_are_found():
    found = library_versions(DISTRIBUTIONS)
    wanted = {"numpy", "onnx", "onnxruntime", "SimpleITK", "scipy", "numba", "Pillow", "torch", "openvino"}
    assert wanted <= found.keys()
    import numpy

    assert found["numpy"] == numpy.__version__


def test_nothing_is_imported_to_learn_a_version():
    program = (
        "import sys; from helpers.run.libraries import *; library_versions(DISTRIBUTIONS);"
        "print(sorted({'numpy', 'torch', 'onnx', 'scipy', 'SimpleITK', 'numba'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def reached(tmp_path):
    """The libraries that a function of a small package reaches."""

    def of(name: str, **sources: str) -> frozenset[str]:
        (tmp_path / "lamp").mkdir()
        for module, text in {"__init__": "", **sources}.items():
            (tmp_path / "lamp" / f"{module}.py").write_text(text, encoding="utf-8")
        index = CodeIndex(tmp_path, "lamp")
        nodes = index.whole(name)
        return frozenset().union(*(index._libraries_of(node) for node in nodes))

    return of


def test_a_library_counts_where_it_is_used(reached):
    found = reached("lamp.a", a="import numpy as np\nimport scipy.ndimage\ndef f():\n    return np.zeros(2)\n")
    assert found == {"numpy"}


def test_a_library_that_a_function_imports_itself_counts(reached):
    assert reached("lamp.a", a="def f():\n    from PIL import Image\n    return Image\n") == {"PIL"}


def test_an_annotation_is_no_use(reached):
    assert reached("lamp.a", a="import torch\ndef f(x: torch.Tensor) -> torch.Tensor:\n    return x\n") == frozenset()


def test_a_stage_is_made_again_with_another_version_and_found_again_with_the_first(runs, monkeypatch):
    stage, real, versions = Stage(), libraries._installed, {"numpy": "1.0", "torch": "1.0"}
    monkeypatch.setattr(libraries, "_installed", lambda name: versions.get(name, real(name)))

    def status() -> str:
        return runs().perform("work", "Some work", inputs={}, make=stage, code=(dice,)).status

    assert [status(), status()] == ["made", "reused"]
    versions["numpy"] = "2.0"
    assert [status(), status()] == ["made", "reused"]
    versions["torch"] = "2.0"  # which a Dice score does not use
    assert status() == "reused"
    versions["numpy"] = None
    assert status() == "made"
    versions["numpy"] = "1.0"
    assert status() == "reused"
