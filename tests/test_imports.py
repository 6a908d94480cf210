"""Imports point one way, importing the package costs nothing, and the workers' files run on an old Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HELPERS = ROOT / "helpers"
MODULES = sorted(path for path in HELPERS.rglob("*.py"))

BOTTOM = {"errors", "params", "run"}
MIDDLE = {"networks", "graph", "compile", "devices", "data"}
# Package -> what it may import, besides itself. `a.b` allows one module, `a` a whole package.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "params": {"errors"},
    "run": {"errors", "params"},
    **{name: set(BOTTOM) for name in MIDDLE},
    "compile": BOTTOM | {"graph.spec"},  # a compiler needs the graph's names and shapes
    "demo": BOTTOM | {"data"},  # draws cases in the layouts that the readers read
    "inference": {"errors"},
    "scoring": BOTTOM | {"data.geometry", "data.regions"},
    "view": BOTTOM | {"data.geometry", "data.regions"},
    "report": BOTTOM | {"view"},
    "fetch": BOTTOM | {"data", "graph", "networks"},
    "card": BOTTOM | {"data", "graph", "inference", "networks"},  # describes any model, and how its cases reach it
    "interop": BOTTOM | MIDDLE | {"inference", "scoring"},
    "recipes": BOTTOM | MIDDLE | {"card", "demo", "inference", "scoring", "view"},
    "stages": BOTTOM | MIDDLE | {"inference", "interop", "scoring", "view", "recipes", "report"},
}
ALLOWED["study"] = ALLOWED["stages"] | {"stages", "qa.finished"}  # compares runs that ended
ALLOWED["qa"] = ALLOWED["stages"] | {"stages"}
ALLOWED["explore"] = ALLOWED["stages"] | {"stages"}  # objects of a run, for a reader to play with
ALLOWED["doctor"] = ALLOWED["stages"] | {"fetch"}
ALLOWED["predict"] = ALLOWED["stages"] | {"stages", "qa.finished"}  # a finished run is a model
ALLOWED["cli"] = ALLOWED["study"] | {"card", "study", "doctor", "fetch", "interop", "predict", "qa"}

# One module that needs one other module across the rule, and why.
EXCEPTIONS = {
    ("helpers.compile.onnxruntime", "helpers.graph.read"),  # stores the weights of the same graph in another type
    ("helpers.compile.torchscript", "helpers.graph.export"),  # traces the same module that is exported
    ("helpers.data.nnunet.model_folder", "helpers.networks.safe_pickle"),  # a model folder's pickles
    ("helpers.data.nnunet.postprocess", "helpers.networks.safe_pickle"),
    ("helpers.data.nnunet.saved_softmax", "helpers.networks.safe_pickle"),
    ("helpers.data.nnunet.splits", "helpers.networks.safe_pickle"),
    ("helpers.view.figures.graph", "helpers.graph.read"),  # the picture of a graph
    ("helpers.view.figures.charts", "helpers.scoring.bootstrap"),  # a mean is never drawn without its interval
    ("helpers.scoring.dice", "helpers.inference.scores"),  # the source's score is taken on logits
}
FREE = {"helpers", "helpers.__main__"}
VENDOR_MODULES = {"acl", "magicmind"}
NUMPY_ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "helpers"}:
            raise ImportError(f"{name} is not on the accelerator's machine")
sys.meta_path.insert(0, Refuse())
import helpers.interop.bundle_infer
from helpers.cli import main
sys.exit(main(["infer", "nowhere"]))
"""


def test_the_step_on_the_accelerators_machine_needs_numpy_alone():
    done = subprocess.run([sys.executable, "-c", NUMPY_ALONE], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stderr.startswith("error: no hand-over bundle in nowhere"), done.stderr


CHILD_FILES = [
    *sorted((HELPERS / "devices" / "sessions").rglob("*.py")),
    HELPERS / "devices" / "worker" / "child.py",
    *sorted((HELPERS / "compile" / "programs").glob("*.py")),
]
HEAVY = ("torch", "acl", "magicmind", "ipyniivue", "matplotlib", "openvino", "onnxruntime", "SimpleITK")


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.AST, module: str) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                # A session is loaded outside this package too: it can import the files next to it in no other way.
                assert module.startswith("helpers.devices.sessions."), f"{module} has a relative import"
                assert node.level == 1, f"{module} reaches out of the sessions"
                continue
            for alias in node.names:
                below = ROOT / Path(*node.module.split("."), f"{alias.name}.py")
                package = ROOT / Path(*node.module.split("."), alias.name, "__init__.py")
                is_module = below.is_file() or package.is_file()
                names.append(f"{node.module}.{alias.name}" if is_module else node.module)
    return names


def _is_allowed(module: str, imported: str) -> bool:
    if module in FREE or imported == "helpers" or (module, imported) in EXCEPTIONS:
        return True
    own, other = module.split(".")[1], imported.split(".")[1]
    assert own in ALLOWED, f"helpers.{own} has no place in the import rule"
    granted = {f"helpers.{name}" for name in ALLOWED[own]}
    return own == other or any(imported == name or imported.startswith(f"{name}.") for name in granted)


def test_the_rule_itself_refuses_and_allows():
    assert not _is_allowed("helpers.devices.base", "helpers.graph.spec")
    assert not _is_allowed("helpers.inference.sliding", "helpers.devices")
    assert not _is_allowed("helpers.run.run", "helpers.recipes")
    assert not _is_allowed("helpers.view.tables", "helpers.data.volume")
    assert _is_allowed("helpers.view.figures.relief", "helpers.data.geometry")
    assert _is_allowed("helpers.stages.infer", "helpers.devices.base")


def test_the_rule_is_acyclic():
    order: list[str] = []
    while len(order) < len(ALLOWED):
        ready = [
            name
            for name, allowed in ALLOWED.items()
            if name not in order and {item.split(".")[0] for item in allowed} - {name} <= set(order)
        ]
        assert ready, f"a cycle among {sorted(set(ALLOWED) - set(order))}"
        order += ready


@pytest.mark.parametrize("path", MODULES, ids=_module_name)
def test_imports_point_one_way(path: Path):
    module = _module_name(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [
        name for name in _imports(tree, module) if name.split(".")[0] == "helpers" and not _is_allowed(module, name)
    ]
    assert not wrong, f"{module} may not import {wrong}"


@pytest.mark.parametrize("path", MODULES, ids=_module_name)
def test_vendor_modules_are_imported_by_their_session_or_build_program_only(path: Path):
    module = _module_name(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    vendor = {name.split(".")[0] for name in _imports(tree, module)} & VENDOR_MODULES
    at_top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert not vendor or path in CHILD_FILES
    assert not at_top & VENDOR_MODULES


@pytest.mark.parametrize("statement", ["import helpers", "import helpers.cli, helpers.doctor, helpers.run"])
def test_importing_is_light(statement: str):
    code = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", CHILD_FILES, ids=lambda path: path.stem)
def test_what_another_interpreter_runs_is_python_3_8_and_alone(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    assert not [name for name in _imports(tree, _module_name(path)) if name.split(".")[0] == "helpers"]
    assert not _parenthesised_withs(path.read_text(encoding="utf-8"))


def _parenthesised_withs(source: str) -> list[int]:
    """Lines of `with (a, b):`, which Python 3.8 parses too, but as a tuple that is no context manager."""
    lines, found = source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.With) and len(node.items) > 1:
            rest = lines[node.lineno - 1][node.col_offset + len("with") :].lstrip()
            if rest.startswith("("):
                found.append(node.lineno)
    return found


def test_a_parenthesised_with_is_found():
    assert _parenthesised_withs("with (a(), b()):\n    pass\n") == [1]
    assert _parenthesised_withs("with a(), b():\n    pass\n") == []


def test_the_sessions_were_found():
    found = {path.stem for path in CHILD_FILES}
    expected = {"openvino_session", "onnxruntime_session", "torch_session", "ascend_session", "slot"}
    assert expected | {"child", "build_magicmind"} <= found
