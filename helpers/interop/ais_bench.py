"""ais_bench (Ascend/tools): packs files into batches, splits the outputs again, writes a summary in JSON.

Source: Ascend/tools, ais-bench_workload/tool/ais_bench.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from helpers.interop.ports import ModelPorts
from helpers.interop.tool import INPUT, Tool, ToolTimes, most_complete

OUTPUT, RUN = "output", "run"


class AisBench(Tool):
    """One sample a file. It pads the last batch itself and saves no output of the padding."""

    name = "ais_bench"

    def commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[list[str]]:
        """One command; a graph that counts samples on another axis needs `--output_batchsize_axis`."""
        command = ["python3", "-m", "ais_bench", "--model", model, "--input", INPUT, "--output", OUTPUT]
        command += ["--output_dirname", RUN, "--outfmt", "BIN", "--batchsize", str(ports.batch_size)]
        if ports.output_batch_axis:
            command += ["--output_batchsize_axis", str(ports.output_batch_axis)]
        return [command]

    def find_outputs(self, folder: Path, stems: Sequence[str], ports: ModelPorts) -> dict[str, Path]:
        """`<output>/<dirname or time>/<stem>_<k>.bin`, k from 0; below it `device<i>/` when several were given."""
        names = {stem: f"{stem}_{ports.output_index}.bin" for stem in stems}
        folders = [*(folder / OUTPUT).glob("*"), *(folder / OUTPUT).glob("*/device*")]
        return most_complete(folders, names)

    def read_times(self, folder: Path, ports: ModelPorts) -> ToolTimes | None:
        """From `<dirname>_summary.json` beside the outputs, or `sumary.json` among them (releases up to 2022)."""
        paths = [*(folder / OUTPUT).glob("*_summary.json"), *(folder / OUTPUT).glob("*/sumary.json")]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                ms = float(json.loads(path.read_text(encoding="utf-8"))["NPU_compute_time"]["mean"])
            except (ValueError, KeyError, TypeError):
                continue
            if ms > 0:
                return ToolTimes(ms, 1000 * ports.batch_size / ms, path.relative_to(folder).as_posix())
        return None
