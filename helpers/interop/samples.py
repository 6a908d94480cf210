"""Samples written as raw files for a tool, named by their contents, and the tool's outputs replayed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from helpers.errors import DeviceError
from helpers.interop.ports import ModelPorts
from helpers.run.atomic import atomic_path


class SampleWriter:
    """Writes samples to `<stem>.bin` files, one or several per file.

    A stem holds the number of the first sample and a checksum of the file, so that an output left from an
    earlier run on other inputs is never mistaken for one of these.

    Args:
        folder: the files' folder.
        samples_per_file: samples in each; the last file is filled up with zeros.

    Attributes:
        stems: of the files written so far, in order.
        count: samples added so far.
    """

    def __init__(self, folder: Path, samples_per_file: int):
        self.stems: list[str] = []
        self.count = 0
        self._folder, self._samples_per_file = folder, samples_per_file
        self._waiting: list[np.ndarray] = []

    def add(self, sample: np.ndarray) -> int:
        """Adds one sample float32 and returns its checksum."""
        sample = np.ascontiguousarray(sample, "<f4")
        self._waiting.append(sample)
        self.count += 1
        if len(self._waiting) == self._samples_per_file:
            self._write()
        return zlib.crc32(sample.data)

    def finish(self) -> None:
        """Fills up and writes the last file."""
        if self._waiting:
            missing = self._samples_per_file - len(self._waiting)
            self._waiting += [np.zeros_like(self._waiting[0])] * missing
            self._write()

    def _write(self) -> None:
        raw = b"".join(sample.tobytes() for sample in self._waiting)
        stem = f"w{len(self.stems) * self._samples_per_file:07d}-{zlib.crc32(raw):08x}"
        with atomic_path(self._folder / f"{stem}.bin") as temporary:
            temporary.write_bytes(raw)
        self.stems.append(stem)
        self._waiting = []


class SampleRecorder:
    """A function in place of the network that passes every sample to `take` and returns zeros.

    Args:
        ports: of the model.
        take: called with each sample.
    """

    def __init__(self, ports: ModelPorts, take: Callable[[np.ndarray], None]):
        self._ports, self._take = ports, take

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if batch.shape[1:] != self._ports.input_shape:
            raise DeviceError(
                "a sample does not fit the model", received=batch.shape[1:], expected=self._ports.input_shape
            )
        for sample in batch:
            self._take(sample)
        axis, shape = self._ports.output_batch_axis, self._ports.output_shape
        return np.zeros((*shape[:axis], len(batch), *shape[axis:]), np.float32)


class SampleReplay:
    """A function in place of the network that returns the outputs of one case in the order of its recorded samples.

    Args:
        ports: of the model.
        read: returns the output of a sample by its number, with its batch axis.
        first: number of the case's first sample.
        checksums: of the case's samples as they were written.
    """

    def __init__(self, ports: ModelPorts, read: Callable[[int], np.ndarray], first: int, checksums: Sequence[int]):
        self._ports, self._read, self._first, self._checksums = ports, read, first, checksums
        self._done = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """The outputs of the next samples.

        Raises:
            DeviceError: the samples differ from those that were written.
        """
        outputs = []
        for sample in batch:
            checksum = zlib.crc32(np.ascontiguousarray(sample, "<f4").data)
            known = self._checksums[self._done] if self._done < len(self._checksums) else None
            if checksum != known:
                raise DeviceError(
                    "preprocessing changed since the samples were written",
                    received=f"sample {self._done} of {len(self._checksums)} differs",
                    remedy="Remove the exchange folder and write the samples again.",
                )
            outputs.append(self._read(self._first + self._done))
            self._done += 1
        return np.concatenate(outputs, axis=self._ports.output_batch_axis)
