"""Targets: where a model runs, as data in `params/targets/*.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helpers.params.builder_config import BuilderConfig
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import explain_validation_error, read_yaml_mapping, unknown_name_error

# The last four are MagicMind's: the quantised layers, and the precision of all others.
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
    """An op that the target's compiler rejects.

    Attributes:
        op: the ONNX operator.
        rank: only if its first input has this rank.
        unless: attributes that make it acceptable, with their accepted values.
        why: the reason, for a table.
        rewrite: the graph rewrite that removes it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    op: str
    rank: int | None = None
    unless: dict[str, list[str]] = Field(default_factory=dict)
    why: str
    rewrite: str | None = None


class Target(BaseModel):
    """A place where a model can run, with its limits.

    `defaults` are run parameters that recipe and profile may override; every other field is fixed.

    Attributes:
        soc_version: the Ascend SoC; if it and `soc_choices` are empty, the machine is asked.
        soc_choices: the SoCs of a family, one of which the run selects.
        gears: whether the compiler takes several batch sizes into one file.
        fallback: the target that replaces this one, in f32, if the vendor's compiler is not on this machine.
        python: the interpreter that has the vendor's module, if it is another one.
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
    precisions: list[Precision] = ["f32"]
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
        """Whether `devices` selects devices by number, as the vendors' runtimes do."""
        return self.runtime in ("ascend", "magicmind")


def target_names() -> list[str]:
    """The names of all targets."""
    return sorted(path.stem for path in (PARAMS_FOLDER / "targets").glob("*.yaml"))


def load_target(name: str) -> Target:
    """Loads a target by the name of its file.

    Raises:
        ParameterError: there is no such target, or its file is invalid.
    """
    if name not in target_names():
        raise unknown_name_error("target", name, target_names())
    content = read_yaml_mapping(PARAMS_FOLDER / "targets" / f"{name}.yaml")
    try:
        return Target(name=name, **content)
    except ValidationError as error:
        raise explain_validation_error(error, Target, where=f"params/targets/{name}.yaml") from None
