"""benchmark.x86_64 and benchmark.aarch64 (closed): reads a list of inputs, counts outputs from 1, one chip a run.

Sources: Ascend/ModelZoo-PyTorch, the READMEs of FCN-8s and 3D_Nested_Unet, and FCN-8s/get_info.py.
"""

from __future__ import annotations

import itertools
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from helpers.errors import DeviceError
from helpers.interop.ports import ModelPorts
from helpers.interop.tool import INPUT, Tool, ToolTimes
from helpers.run.atomic import replace_when_whole

RESULT = "result"
_INFERENCE = re.compile(r"\[infer(?:ence)?\][^\n]*?Interface throughputRate:\s*([0-9.]+)")
_PURE = re.compile(r"ave_throughputRate:\s*([0-9.]+)\s*samples/s")
_RECORDS = {"perf_vision_batchsize_*_device_*.txt": _INFERENCE, "PureInfer_perf_of_*_in_device_*.txt": _PURE}


class Benchmark(Tool):
    """One sample a file, named in a list; inputs are split over chips in contiguous parts."""

    name = "benchmark"
    several_chips = True

    def write_lists(self, folder: Path, stems: Sequence[str], ports: ModelPorts, chips: int) -> None:
        """One `.info` a chip: lines of index from 0, path, width and height, single spaces between."""
        height, width = ports.input_shape[-2:]
        for chip, part in enumerate(split_evenly(stems, chips)):
            lines = [f"{index} {INPUT}/{stem}.bin {width} {height}\n" for index, stem in enumerate(part)]
            with replace_when_whole(folder / _list_name(chip)) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")

    def commands(self, model: str, ports: ModelPorts, chips: int = 1) -> list[list[str]]:
        """One command a chip, to be run side by side; the binary of this machine's processor."""
        height, width = ports.input_shape[-2:]
        shared = ["-model_type=vision", f"-om_path={model}", f"-batch_size={ports.batch_size}"]
        shared += [f"-input_width={width}", f"-input_height={height}", "-useDvpp=false", "-output_binary=true"]
        program = f"benchmark.{'aarch64' if platform.machine() in ('aarch64', 'arm64') else 'x86_64'}"
        return [
            [program, *shared, f"-device_id={chip}", f"-input_text_path={_list_name(chip)}"] for chip in range(chips)
        ]

    def find_outputs(self, folder: Path, stems: Sequence[str], ports: ModelPorts) -> dict[str, Path]:
        """`result/dumpOutput_device<d>/<stem>_<k>.bin` of all chips together, k from 1.

        Raises:
            DeviceError: two chips answered the same input, so one list was run twice and another perhaps not.
        """
        there: dict[str, Path] = {}
        for path in sorted((folder / RESULT).glob(f"dumpOutput_device*/*_{ports.output_index + 1}.bin")):
            if path.name in there:
                raise DeviceError(
                    "two chips answered the same input",
                    received=f"{there[path.name].relative_to(folder)} and {path.relative_to(folder)}",
                    remedy=f"Remove {RESULT}/ and run every command once.",
                )
            there[path.name] = path
        names = {stem: f"{stem}_{ports.output_index + 1}.bin" for stem in stems}
        return {stem: there[name] for stem, name in names.items() if name in there}

    def read_times(self, folder: Path, ports: ModelPorts) -> ToolTimes | None:
        """`Interface throughputRate` of one chip: samples over the device's own time; else a pure run's rate."""
        for pattern, rate in _RECORDS.items():
            for path in sorted((folder / RESULT).glob(pattern)):
                found = rate.search(path.read_text(encoding="utf-8", errors="replace"))
                if found and float(found[1]) > 0:
                    per_second = float(found[1])
                    source = path.relative_to(folder).as_posix()
                    return ToolTimes(1000 * ports.batch_size / per_second, per_second, source)
        return None


def split_evenly(items: Sequence[str], parts: int) -> list[Sequence[str]]:
    """Contiguous parts whose lengths differ by one at most, the longer ones first."""
    size, more = divmod(len(items), parts)
    cuts = [index * size + min(index, more) for index in range(parts + 1)]
    return [items[first:last] for first, last in itertools.pairwise(cuts)]


def _list_name(chip: int) -> str:
    return f"device{chip}.info"
