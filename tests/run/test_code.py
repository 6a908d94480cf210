"""A digest of code changes with what the code reaches, and with nothing else."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from helpers.run.code import DYNAMIC, PASSIVE, CodeIndex, project_code

SHOP = {
    "__init__.py": '"""A shop."""\n',
    "till.py": '''
"""The till."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import shop.stock
from shop import prices, wares
from shop.notes import note
from shop.wares import Ware

if TYPE_CHECKING:
    from shop.unused import Catalogue

os.environ.setdefault("SHOP", "open")


def sell(name: str, count: int = 1) -> float:
    """Sells wares."""
    from shop.lazy import discount

    note(name)
    try:
        from shop import fast as pace
    except ImportError:
        from shop import slow as pace
    pace.tidy()
    ware: Ware = Ware(name)
    return prices.total(ware, count) - discount() + shop.stock.left()


def close(catalogue: Catalogue | None = None) -> None:
    """Closes the till."""


def pack(name: str, wrap) -> Callable:
    """Packs wares."""

    def make():
        return wrap(name)

    return make


def wrap_gift(paper: str):
    def wrap(name):
        return prices.RATE, paper

    return pack("gift", wrap)


class Scale:
    """A scale."""

    def weigh(self) -> int:
        return prices.RATE


def plug_in(name: str):
    return PLUGS[name]


PLUGS = {"lamp": "shop.plugs:Lamp"}


def any_ware():
    return wares
''',
    "prices.py": """
from shop.rates import *
from shop.wares import Ware
from shop.rounding import to_cents, unused

RATE = 19
RATE += 1


@to_cents
def total(ware: Ware, count: int) -> float:
    # Without tax.
    return ware.weight() * count * RATE
""",
    "rounding.py": "def to_cents(call):\n    return call\n\n\ndef unused():\n    return 3\n",
    "rates.py": "STANDARD = 1\n",
    "wares.py": '''
import decimal
from dataclasses import dataclass


class Thing:
    """Has a weight."""

    def weight(self) -> int:
        return 2


@dataclass
class Ware(Thing):
    """Has a name."""

    name: str


def boxes():
    return decimal.Decimal(4)
''',
    "lazy.py": "def discount():\n    return _half()\n\n\ndef _half():\n    return 0.5\n",
    "stock.py": """
try:
    from shop.fast import count
except ImportError:
    count = None


def left():
    return count
""",
    "fast.py": "def count():\n    return 7\n\n\ndef tidy():\n    return 8\n",
    "slow.py": "def tidy():\n    return 8\n",
    "notes.py": "def note(text):\n    pass\n",
    "plugs.py": "class Lamp:\n    watts = 40\n\n\nclass Fan:\n    watts = 60\n",
    "unused.py": "class Catalogue:\n    pages = 1\n",
    "facade.py": """
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shop.plugs import Lamp


def __getattr__(name):
    raise AttributeError(name)
""",
    "models.py": """
from pydantic import BaseModel


class Base(BaseModel):
    pass


class Model(Base):
    size: int = 1
""",
    "zoo/__init__.py": "from shop.zoo.animals import *\n",
    "zoo/animals.py": "class Animal:\n    legs = 4\n",
    "zoo/birds.py": "from shop.zoo import Animal\n\n\nclass Bird(Animal):\n    legs = 2\n",
}


class Shop:
    """A small package on disk that can be edited and digested again."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "shop" / "zoo").mkdir(parents=True)
        for name, text in SHOP.items():
            (folder / "shop" / name).write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / "shop" / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def index(self) -> CodeIndex:
        return CodeIndex(self.folder, "shop", passive=("notes",), dynamic={"shop.till:plug_in": ("shop.stock",)})

    def digest(self, *roots: object) -> str:
        return self.index().reach(roots).digest

    def names(self, *roots: object) -> set[str]:
        return {f"{module.partition('.')[2]}:{name}" for module, name in self.index().reach(roots).definitions}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    made = Shop(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture
def till(shop) -> ModuleType:
    return importlib.import_module("shop.till")


KEEPS = {
    "a docstring": ("till.py", '"""Sells wares."""', '"""Sells one ware."""'),
    "a docstring that goes": ("wares.py", '    """Has a weight."""\n\n', ""),
    "a module's docstring": ("till.py", '"""The till."""', '"""A till."""'),
    "a comment": ("prices.py", "# Without tax.", "# With tax."),
    "formatting": ("prices.py", "ware.weight() * count * RATE", "(ware.weight()\n        * count * RATE)"),
    "an annotation of an argument": ("prices.py", "count: int", "count"),
    "an annotation of a result": ("till.py", "count: int = 1) -> float:", "count: int = 1):"),
    "an annotation of a variable": ("till.py", "ware: Ware = ", "ware = "),
    "an annotation of a field": ("wares.py", "name: str", "name: bytes"),
    "an import that is not used": ("prices.py", "to_cents, unused", "to_cents"),
    "an import for annotations": ("till.py", "    from shop.unused import Catalogue", "    import shop.unused"),
    "a function that is not reached": ("wares.py", "Decimal(4)", "Decimal(5)"),
    "a function next to it": ("till.py", "return wrap(name)", "return None"),
    "a passive module": ("notes.py", "pass", "return text"),
    "the order of definitions": (
        "lazy.py",
        SHOP["lazy.py"],
        "def _half():\n    return 0.5\n\n\ndef discount():\n    return _half()\n",
    ),
}
CHANGES = {
    "the function itself": ("till.py", "- discount()", "+ discount()"),
    "a helper two modules away": ("wares.py", "return 2", "return 3"),
    "a constant": ("prices.py", "RATE = 19", "RATE = 7"),
    "a later change of a constant": ("prices.py", "RATE += 1", "RATE += 2"),
    "a base class": ("wares.py", "class Ware(Thing)", "class Ware"),
    "a function imported lazily": ("lazy.py", "return _half()", "return 2 * _half()"),
    "what that one calls": ("lazy.py", "return 0.5", "return 0.6"),
    "a default argument": ("till.py", "count: int = 1", "count: int = 2"),
    "a decorator": ("rounding.py", "return call", "return round"),
    "a decorator that goes": ("prices.py", "@to_cents\n", ""),
    "a field that goes": ("wares.py", "    name: str\n", "    pass\n"),
    "a statement of a module": ("till.py", '"open"', '"closed"'),
    "an import with a fallback": ("fast.py", "return 8", "return 9"),
    "the fallback": ("slow.py", "return 8", "return 9"),
    "a guarded import": ("fast.py", "return 7", "return 8"),
    "where an outside name comes from": ("till.py", "import os\n", "import posix as os\n"),
}


class TestEdits:
    @pytest.mark.parametrize("edit", KEEPS.values(), ids=KEEPS)
    def test_keeps_the_digest(self, shop, till, edit):
        before = shop.digest(till.sell)
        shop.edit(*edit)
        assert shop.digest(till.sell) == before

    @pytest.mark.parametrize("edit", CHANGES.values(), ids=CHANGES)
    def test_changes_the_digest(self, shop, till, edit):
        before = shop.digest(till.sell)
        shop.edit(*edit)
        assert shop.digest(till.sell) != before

    def test_where_an_unreached_outside_name_comes_from_keeps_it(self, shop, till):
        before = shop.digest(till.sell)
        shop.edit("wares.py", "import decimal", "import fractions as decimal")
        assert shop.digest(till.sell) == before

    def test_a_model_of_pydantic_validates_by_its_annotations(self, shop):
        model = importlib.import_module("shop.models").Model
        before = shop.digest(model)
        shop.edit("models.py", "size: int", "size: float")
        assert shop.digest(model) != before


class TestReach:
    def test_follows_names_and_attributes_of_modules(self, shop, till):
        assert shop.names(till.sell) == {
            "till:sell",
            "till:",
            "prices:total",
            "prices:RATE",
            "rounding:to_cents",
            "wares:Ware",
            "wares:Thing",
            "lazy:discount",
            "lazy:_half",
            "stock:left",
            "stock:count",
            "fast:count",
            "fast:tidy",
            "slow:tidy",
        }

    def test_annotations_reach_nothing(self, shop, till):
        assert shop.names(till.close) == {"till:close", "till:"}

    def test_a_module_as_an_object_counts_as_a_whole(self, shop, till):
        assert {"wares:Ware", "wares:Thing", "wares:boxes"} <= shop.names(till.any_ware)

    def test_a_string_that_names_a_definition_reaches_it(self, shop, till):
        names = shop.names(till.plug_in)
        assert "plugs:Lamp" in names and "plugs:Fan" not in names

    def test_a_declared_dependency_is_reached_as_a_whole(self, shop, till):
        assert {"stock:left", "stock:count", "fast:count"} <= shop.names(till.plug_in)

    def test_a_passive_module_is_followed_from_a_root_in_it(self, shop, till):
        notes = importlib.import_module("shop.notes")
        assert "notes:note" not in shop.names(till.sell)
        assert {"till:sell", "notes:note", "prices:total"} <= shop.names(till.sell, notes.note)

    def test_a_name_mapped_lazily_is_found_by_its_import_for_annotations(self, shop):
        nodes = shop.index().locate("shop.facade", "Lamp")
        assert nodes == {("shop.plugs", "Lamp"), ("shop.facade", "__getattr__")}

    def test_a_base_class_that_cannot_be_found_takes_the_whole_package_once(self, shop):
        bird = importlib.import_module("shop.zoo.birds").Bird
        assert shop.names(bird) >= {"zoo.birds:Bird", "zoo.animals:Animal"}
        before = shop.digest(bird)
        shop.edit("zoo/animals.py", "4", "5")
        assert shop.digest(bird) != before

    def test_a_name_that_cannot_be_found_takes_the_whole_module(self, shop):
        assert shop.index().locate("shop.plugs", "Radio") == {("shop.plugs", "Lamp"), ("shop.plugs", "Fan")}


class TestRoots:
    def test_a_nested_function_stands_for_the_one_that_defines_it(self, shop, till):
        assert "till:pack" in shop.names(till.pack("box", None))

    def test_functions_in_a_closure_are_roots(self, shop, till):
        assert {"till:pack", "till:wrap_gift", "prices:RATE"} <= shop.names(till.wrap_gift("red"))

    def test_other_objects_in_a_closure_count_by_their_class(self, shop, till):
        one, two = (till.pack("box", importlib.import_module("shop.wares").Ware(name)) for name in ("lamp", "fan"))
        assert {"till:pack", "wares:Ware", "wares:Thing"} <= shop.names(one)
        assert shop.digest(one) == shop.digest(two)

    def test_an_instance_and_a_bound_method_stand_for_their_class(self, shop, till):
        expected = {"till:Scale", "till:", "prices:RATE"}
        assert shop.names(till.Scale()) == shop.names(till.Scale().weigh) == shop.names(till.Scale) == expected

    def test_a_partial_stands_for_its_function_and_arguments(self, shop, till):
        one, two = partial(till.close, 1), partial(till.close, 2)
        assert "till:close" in shop.names(one)
        assert shop.digest(one) != shop.digest(two)

    def test_a_function_in_a_field_counts_with_the_values_that_it_closes_over(self, shop, till):
        ware = importlib.import_module("shop.wares").Ware
        red, same, blue = (ware(till.wrap_gift(paper)) for paper in ("red", "red", "blue"))
        assert shop.digest(red) == shop.digest(same) != shop.digest(blue)
        assert shop.digest(till.wrap_gift("red")) == shop.digest(till.wrap_gift("blue"))

    def test_a_dataclass_contributes_the_values_of_its_fields(self, shop, till):
        lamp, fan = (importlib.import_module("shop.wares").Ware(name) for name in ("lamp", "fan"))
        same = importlib.import_module("shop.wares").Ware("lamp")
        assert shop.digest(lamp) == shop.digest(same) != shop.digest(fan)
        holding = [importlib.import_module("shop.wares").Ware(part) for part in (till.Scale(), till.close)]
        assert "till:Scale" in shop.names(holding[0]) and "till:close" in shop.names(holding[1])

    def test_an_object_in_a_field_counts_with_its_attributes(self, shop, till):
        ware = importlib.import_module("shop.wares").Ware
        held = []
        for limit in (1, 1, 2):
            scale = till.Scale()
            scale.limit = limit
            held.append(ware(scale))
        one, same, two = held
        assert shop.digest(one) == shop.digest(same) != shop.digest(two)
        assert shop.digest(one.name) == shop.digest(two.name)

    @pytest.mark.parametrize(
        ("one", "two"),
        [(1, 2), ("a", "b"), ((1, 2), (2, 1)), ({"a": 1}, {"a": 2}), ({1, 2}, {1, 3}), (np.zeros(9), np.ones(9))],
    )
    def test_plain_values_count_by_value(self, shop, one, two):
        assert shop.digest(one) == shop.digest(one) != shop.digest(two)

    def test_an_object_without_a_text_of_its_own_counts_by_its_class(self, shop):
        assert shop.digest(object()) == shop.digest(object())

    def test_what_a_notebook_defines_counts_by_its_source(self, shop):
        def of(text: str) -> Callable:
            scope = {"__name__": "__main__"}
            exec(text, scope)
            return scope["make"]

        assert shop.digest(of("def make(folder):\n    return 1\n")) != shop.digest(
            of("def make(folder):\n    return 2\n")
        )


# Definitions that find code by a name made at run time without an entry in DYNAMIC, and why none is needed.
EXPLAINED = {
    "helpers.compile.base:compiler_for": "the table next to it names module and class",
    "helpers.recipes:load": "the table next to it names module and class",
    "helpers.inference.accumulator:load_kernels": "both modules are written out",
    "helpers.graph.surgery.base:Rewrite": "fills the registry that rewrite_named reads",
    "helpers.demo.brain:_FOLDER": "holds data, which ends up in files of cases",
    "helpers.card.torch_file:_find": "imports a user's module, whose files are in the key of the own model",
    "helpers.predict.proof:_load_libraries": "imports libraries earlier than the steps that need them",
    "helpers.stages.on_actor:_order": "says where a caller's own recipe lies, which the actor imports",
    "helpers.devices.worker.child:load_session_module": "another interpreter loads the session by its file",
}
_WORDS = {"import_module", "__import__", "__subclasses__", "__init_subclass__", "__file__"}


def _words_of(statement: ast.AST) -> set[str]:
    kinds = ((ast.Name, "id"), (ast.Attribute, "attr"), (ast.FunctionDef, "name"))
    return {getattr(node, field) for node in ast.walk(statement) for kind, field in kinds if isinstance(node, kind)}


class TestProject:
    def test_every_name_made_at_run_time_is_declared(self):
        index, root = project_code(), Path(importlib.import_module("helpers").__file__).parent
        found = set()
        for path in root.iterdir():
            for module, name in index.whole(f"helpers.{path.stem}"):
                statements = index.module(module).definitions.get(name, [])
                if any(_WORDS & _words_of(statement) for statement in statements):
                    found.add(f"{module}:{name}")
        assert found <= set(DYNAMIC) | set(EXPLAINED)
        assert set(EXPLAINED) <= found

    def test_the_tables_name_what_exists(self):
        index, folder = project_code(), Path(importlib.import_module("helpers").__file__).parent
        assert all((folder / name).is_dir() or (folder / f"{name}.py").is_file() for name in PASSIVE)
        for definition, reached in DYNAMIC.items():
            module, _, name = definition.partition(":")
            assert name in index.module(module).definitions, definition
            assert all(index.whole(each) for each in reached)

    def test_an_installed_package_is_not_followed(self):
        assert project_code().module("numpy") is None
        assert project_code().module("json") is None

    def test_a_package_of_another_environment_on_the_path_is_not_followed(self, tmp_path, monkeypatch):
        folder = tmp_path / "other" / "lib" / "site-packages"
        for root in (folder, tmp_path):
            (root / f"of_{root.name.replace('-', '_')}").mkdir(parents=True)
            (root / f"of_{root.name.replace('-', '_')}" / "__init__.py").write_text("", encoding="utf-8")
            monkeypatch.syspath_prepend(root)
        index = CodeIndex(tmp_path, "shop")
        assert index.module("of_site_packages") is None
        assert index.module(f"of_{tmp_path.name.replace('-', '_')}") is not None
