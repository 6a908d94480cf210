"""msame (Ascend/tools): one file is one whole model input; outputs in a folder named after the time.

Source: Ascend/tools, msame/src and Readme_cn.md.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from helpers.interop.ports import ModelPorts
from helpers.interop.tool import INPUT, Tool, ToolTimes, most_complete

OUTPUT, LOG = "output", "msame.log"
_AVERAGE = re.compile(r"Inference average time(?: without first time)?\s*:\s*([0-9.]+)\s*ms")
_ONE = re.compile(r"Inference time:\s*([0-9.]+)\s*ms")


class Msame(Tool):
    """Inputs hold `batch_size` samples each, because msame puts no batch together."""

    name = "msame"

    def samples_a_file(self, ports: ModelPorts) -> int:
        """A whole batch."""
        return ports.batch_size

    def commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[list[str]]:
        """One command over the folder of inputs."""
        return [["msame", "--model", model, "--input", INPUT, "--output", OUTPUT, "--outfmt", "BIN"]]

    def shown_commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[str]:
        """With a copy of what msame prints: it leaves its times nowhere else."""
        return [f"{shlex.join(command)} | tee {LOG}" for command in self.commands(model, ports, chips)]

    def find_outputs(self, folder: Path, stems: Sequence[str], ports: ModelPorts) -> dict[str, Path]:
        """`<output>/<time>/<stem>_output_<k>.bin`, k from 0."""
        names = {stem: f"{stem}_output_{ports.output_index}.bin" for stem in stems}
        return most_complete((folder / OUTPUT).glob("*"), names)

    def read_times(self, folder: Path, ports: ModelPorts) -> ToolTimes | None:
        """The average without the first call where it is printed. msame's times are of a batch, never of a sample."""
        path = folder / LOG
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        found = _AVERAGE.findall(text) or _ONE.findall(text)
        if not found or float(found[-1]) <= 0:
            return None
        ms = float(found[-1])
        return ToolTimes(ms, 1000 * ports.batch_size / ms, LOG)
