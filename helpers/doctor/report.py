"""The doctor's report: the machine, the packages, and the targets that each notebook can use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers import recipes
from helpers.doctor.hardware import describe_accelerators, describe_cpu, describe_memory
from helpers.doctor.software import (
    describe_packages,
    describe_torch_build,
    has_cann_module,
    has_module,
)
from helpers.params.paths import PROJECT_ROOT
from helpers.params.targets import Target, load_target, target_names
from helpers.run.environment import package_version
from helpers.view.netron_frame import describe_netron
from helpers.view.tables import html_table, text_table


@dataclass(frozen=True)
class DoctorReport:
    """Facts about the machine, and which notebook can use which target.

    Attributes:
        sections: title to facts.
        abilities: a header and one row per notebook, with ✓ or – per target.
        remedies: what each unavailable target needs.
    """

    sections: Mapping[str, Mapping[str, str]]
    abilities: list[tuple[str, ...]]
    remedies: Mapping[str, str]

    @property
    def healthy(self) -> bool:
        """Whether every pinned package is installed, so that the default target runs."""
        return not any(value.startswith("missing") for value in self.sections["Packages"].values())

    def __str__(self) -> str:
        lines = []
        for title, facts in self.sections.items():
            lines += [title, *(f"  {name:<24} {value}" for name, value in facts.items()), ""]
        lines.append("Targets that each notebook can use here")
        lines += [f"  {line}" for line in text_table(self.abilities)]
        lines += [
            "",
            "Needed for the other targets",
            *(f"  {name:<24} {remedy}" for name, remedy in self.remedies.items()),
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        machine = {**self.sections["Machine"], **self.sections["Accelerators"], **self.sections["Notes"]}
        differing = {name: value for name, value in self.sections["Packages"].items() if "pinned" in value}
        packages = list(differing.items()) or [("packages", "all as pinned")]
        return (
            html_table(("machine", ""), [*machine.items(), *packages])
            + "<br>"
            + html_table(self.abilities[0], self.abilities[1:])
            + "<br>"
            + html_table(("needed for the other targets", ""), list(self.remedies.items()))
        )


def examine() -> DoctorReport:
    """Examines this machine without changing it or importing anything that could crash."""
    targets = [load_target(name) for name in target_names()]
    able = {target.name: _can_run(target) for target in targets}
    header = ("notebook", *(target.name for target in targets))
    rows = [(name, *("✓" if able[target.name] else "–" for target in targets)) for name in recipes.recipe_names()]
    return DoctorReport(
        sections={
            "Machine": {**describe_cpu(), **describe_memory(PROJECT_ROOT)},
            "Accelerators": describe_accelerators(),
            "Packages": describe_packages(),
            "Notes": {
                "torch build": describe_torch_build(),
                "netron": describe_netron(),
                "3-D viewer": "ipyniivue" if has_module("ipyniivue") else "static pictures only",
            },
        },
        abilities=[header, *rows],
        remedies={target.name: target.needs for target in targets if not able[target.name]},
    )


def _can_run(target: Target) -> bool:
    if target.python:
        return Path(target.python).exists()
    if target.runtime == "ascend":
        return has_cann_module()
    if target.runtime == "magicmind":
        return has_module("magicmind")
    if target.device == "CANN":
        return package_version("onnxruntime-cann") is not None and has_cann_module()
    if target.device == "CUDA":
        device = next(Path("/dev").glob("nvidia[0-9]*"), None)  # a container may have another one than nvidia0
        return has_module("torch") and "CUDA build" in describe_torch_build() and device is not None
    return has_module(target.runtime)
