"""The parameters of a notebook: what its parameters cell says, not what the notebook's variables have become.

A variable of the same name that a reader sets in another cell is the reader's own. Cells are found in the history
that IPython keeps, so this works in every front end: JupyterLab, VS Code, papermill.
"""

from __future__ import annotations

import ast
import html
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helpers.errors import ParameterError, StepOrderError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell

_LOG = logging.getLogger("cookbook")
# The first line of a parameters cell; papermill writes the second one above the values that it was given.
_MARK = re.compile(r"\s*# Parameters of this run\b")
_GIVEN = re.compile(r"\s*# Parameters\s*$", re.MULTILINE)
_LITERALS = (bool, int, float, str, list, dict, type(None))


def is_notebook(namespace: Mapping[str, object]) -> bool:
    """Whether a namespace is the `globals()` of a notebook, whose cells IPython remembers."""
    return "get_ipython" in namespace and any(cells_of(namespace))


def cells_of(namespace: Mapping[str, object]) -> list[str]:
    """The cells that were run in a notebook, in order; the one that runs now is the last."""
    cells = namespace.get("In")
    return [str(cell) for cell in cells] if isinstance(cells, list) else []


def read_parameters(cells: Sequence[str], namespace: Mapping[str, object]) -> dict[str, object]:
    """The parameters that the last parameters cell and papermill's cell after it set.

    A literal is read from the cell; a parameter that the cell computes has the value of its variable. A name that the
    cell no longer sets is forgotten.

    Args:
        cells: those that were run, in order.
        namespace: the notebook's variables.

    Raises:
        StepOrderError: no parameters cell was run.
        ParameterError: the parameters cell is not valid Python.

    >>> cells = ["# Parameters of this run\\nsize = 3\\nbad = 1", "# Parameters of this run\\nsize = 4", "size = 5"]
    >>> read_parameters(cells, {"size": 5})
    {'size': 4}
    """
    first = _find_parameters_cell(cells)
    used = [cells[first]] if first is not None else []
    used += [cell for cell in cells[0 if first is None else first + 1 :] if _GIVEN.match(cell)]
    if not used:
        raise StepOrderError(
            "no parameters cell was run",
            remedy="Run the cell that begins with `# Parameters of this run`, then this.",
        )
    values: dict[str, object] = {}
    for cell in used:
        for name, value in _assignments(cell).items():
            values[name] = value() if value else namespace.get(name)
    return {name: value for name, value in values.items() if not name.startswith("_")}


def own_variables(
    namespace: Mapping[str, object], given: Mapping[str, object], known: Collection[str]
) -> dict[str, object]:
    """The reader's variables that are named like parameters, and are none."""
    return {
        name: namespace[name]
        for name in known
        if name in namespace and is_plain(namespace[name]) and namespace[name] != given.get(name)
    }


def is_plain(value: object) -> bool:
    """Whether a value consists of literals only, as a parameter does; a list of results does not."""
    if isinstance(value, dict):
        return all(is_plain(part) for part in (*value, *value.values()))
    if isinstance(value, list):
        return all(is_plain(part) for part in value)
    return isinstance(value, _LITERALS)


def watch_parameters(namespace: Mapping[str, Any], given: Mapping[str, object]) -> None:
    """Lets every later cell that uses the run say so if the parameters have changed since.

    Args:
        namespace: the notebook's `globals()`.
        given: the parameters that the run was started with.
    """
    shell = namespace["get_ipython"]()
    for callback in list(shell.events.callbacks["pre_run_cell"]):
        if getattr(callback, "__func__", None) is _ChangeNotice.show:
            shell.events.unregister("pre_run_cell", callback)
    shell.events.register("pre_run_cell", _ChangeNotice(shell, given).show)


class _ChangeNotice:
    """A line above the output of a cell that uses a run whose parameters have changed since its start."""

    def __init__(self, shell: InteractiveShell, given: Mapping[str, object]):
        self._shell, self._given = shell, dict(given)

    def show(self, info: ExecutionInfo) -> None:
        """Called by IPython before each cell."""
        if not _uses_run(info.raw_cell or ""):
            return
        try:
            now = read_parameters(cells_of(self._shell.user_ns), self._shell.user_ns)
        except (ParameterError, StepOrderError):
            return  # the cell that starts a run says what is wrong
        changes = [
            f"{name} {_show(self._given.get(name))} → {_show(now.get(name))}"
            for name in dict.fromkeys((*self._given, *now))
            if self._given.get(name) != now.get(name)
        ]
        if changes:
            _display_warning(
                f"The parameters have changed since this run was started ({', '.join(changes)}). This cell still uses"
                " the old ones. Run the cell of section 2 to start a run with the new ones."
            )


def _display_warning(line: str) -> None:
    from IPython.display import display

    _LOG.warning("%s", line)
    shown = f"<div style='border-left:4px solid #d9822b;padding:4px 8px;margin:4px 0'>{html.escape(line)}</div>"
    display({"text/html": shown, "text/plain": line}, raw=True)


def _show(value: object) -> str:
    return "unset" if value is None else str(value)


def _uses_run(cell: str) -> bool:
    """Whether a cell uses the run, and does not start one."""
    try:
        nodes = list(ast.walk(ast.parse(cell)))
    except SyntaxError:
        return False
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    called = {node.attr for node in nodes if isinstance(node, ast.Attribute)} | names
    return "run" in names and "start_run" not in called


def _find_parameters_cell(cells: Sequence[str]) -> int | None:
    """The last cell that is marked as the parameters cell; else the last that only assigns and sets `profile`."""
    marked = [index for index, cell in enumerate(cells) if _MARK.match(cell)]
    if marked:
        return marked[-1]
    plain = [index for index, cell in enumerate(cells) if not _GIVEN.match(cell) and _only_assigns_profile(cell)]
    return plain[-1] if plain else None


def _only_assigns_profile(cell: str) -> bool:
    try:
        body = ast.parse(cell).body
    except SyntaxError:
        return False
    return all(isinstance(each, ast.Assign) for each in body) and "profile" in _assignments(cell)


def _assignments(cell: str) -> dict[str, Callable[[], object] | None]:
    """Every name that a cell sets, with what reads its literal; None if the value is computed.

    Raises:
        ParameterError: the cell is not valid Python.
    """
    try:
        tree = ast.parse(cell)
    except SyntaxError as error:
        raise ParameterError(
            f"the parameters cell is not valid Python: {error.msg} (line {error.lineno})", remedy="Correct it."
        ) from None
    found: dict[str, Callable[[], object] | None] = {
        node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for each in tree.body:
        if isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None and _is_literal(each.value):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            found |= {target.id: _reader(each.value) for target in targets if isinstance(target, ast.Name)}
    return found


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _reader(node: ast.expr) -> Callable[[], object]:
    return lambda: ast.literal_eval(node)
