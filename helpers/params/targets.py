"""Targets: where a model runs, as data in `params/targets/*.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helpers.params.builder_config import BuilderConfig
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import explain_validation_error, read_yaml_mapping, unknown_name_error

# The last four are MagicMind's own: what is quantised, and the precision of everything else.
Precision = Literal[
    "f32",
    "f16",
    "f16_weights",  # stored in float16, computed in float32
    "bf16",
    "int8",
    "qint8_mixed_float16",
    "qint8_mixed_float32",
    "qint16_mixed_float16",
    "qint16_mixed_float32",
]


class RefusedOp(BaseModel):
    """A rule of what a target's compiler refuses: an op, optionally only for one rank of its first input."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    op: str
    rank: int | None = None
    unless: dict[str, list[str]] = Field(default_factory=dict)
    why: str
    rewrite: str | None = None


class Target(BaseModel):
    """One place a model can run, with its limits.

    `defaults` are values of run parameters that recipe and profile may override; every other field is a
    limit that they may not.

    `soc_version`: the chip; with `soc_choices` one of several of a family, and open (asked of the machine) where both
    are empty. `gears`: whether its compiler takes several batch sizes into one file. `fallback`: the target that the
    walk goes on with, in f32, where the vendor's compiler is not on this machine. `python`: the interpreter that has
    the vendor's module, when it is another one.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    title: str
    runtime: Literal["openvino", "onnxruntime", "torch", "ascend", "ais_bench", "magicmind"]
    device: str = "CPU"
    soc_version: str | None = None
    soc_choices: list[str] = Field(default_factory=list)
    opset_minimum: int = 11
    opset_maximum: int = 18
    precisions: list[Precision] = Field(default_factory=lambda: ["f32"])
    batches: list[int] | None = None
    gears: bool = False
    fallback: str | None = None
    python: str | None = None
    refuses: list[RefusedOp] = Field(default_factory=list)
    rewrites: list[str] = Field(default_factory=list)
    builder_config: BuilderConfig = Field(default_factory=BuilderConfig)
    needs: str = ""
    defaults: dict[str, object] = Field(default_factory=dict)

    @property
    def has_numbered_chips(self) -> bool:
        """Whether `devices` chooses among several: the vendors' runtimes open a chip by its number."""
        return self.runtime in ("ascend", "magicmind")


def target_names() -> list[str]:
    """Every target that the project knows."""
    return sorted(path.stem for path in (PARAMS_FOLDER / "targets").glob("*.yaml"))


def load_target(name: str) -> Target:
    """A target by its file's name.

    Raises:
        ParameterError: there is no such target, or its file is wrong.
    """
    if name not in target_names():
        raise unknown_name_error("target", name, target_names())
    content = read_yaml_mapping(PARAMS_FOLDER / "targets" / f"{name}.yaml")
    try:
        return Target(name=name, **content)
    except ValidationError as error:
        raise explain_validation_error(error, Target, where=f"params/targets/{name}.yaml") from None
