"""The inner loops in numpy alone, for a machine without numba; the reference for the compiled ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Range = tuple[int, int]
Scales = tuple[np.ndarray, np.ndarray]


def add_window(
    store: np.ndarray,
    table: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    corner: tuple[int, int, int],
    seen: tuple[int, int, int],
    first: int,
    last: int,
) -> None:
    """Adds scores x weights of some planes of one window; a voxel that no window reached before is set, not added to.

    Args:
        store: the sums, (chunks, classes, blocks of columns, rows, columns).
        table: the chunk of each plane (modulo the window's depth) and band of rows; -1 for none.
        scores: (classes, Z, Y, X) float32 of the window.
        weights: (Z, Y, X) float32 of the window.
        corner: (z, y, x) of the window in the volume.
        seen: (z, y, x) that earlier windows reached along each axis; a voxel at or beyond all three is new.
        first, last: planes of the window.
    """
    _, _, height, width = scores.shape
    band, columns = store.shape[3:]
    z, y, x = corner
    for plane in range(first, last):
        chunks = table[(z + plane) % table.shape[0]]
        for start, stop in _split(y, y + height, band, seen[1]):
            fresh = z + plane >= seen[0] and start >= seen[1]
            product = scores[:, plane, start - y : stop - y] * weights[plane, start - y : stop - y]
            sums = store[chunks[start // band], :, :, start % band : start % band + stop - start]
            for left, right in _split(x, x + width, columns, seen[2]):
                target = sums[:, left // columns, :, left % columns : left % columns + right - left]
                if fresh and left >= seen[2]:
                    target[...] = 0
                target += product[..., left - x : right - x]


def label_rows(
    store: np.ndarray,
    table: np.ndarray,
    planes: Range,
    rows: Range,
    scales: Scales,
    threshold: float,
    labels: np.ndarray,
) -> bool:
    """Writes the first largest class of finished sums into `labels` (Z, Y, X) uint8; False when one is not finite.

    With one class the label is 1 where the mean score is above the threshold.

    Args:
        planes, rows: ranges of the volume.
        scales: 1 / summed weight, as a factor for each plane (Z) and for each voxel of a plane (Y, X).
    """
    finite = True
    for z, start, stop, scores in _finished(store, table, planes, rows):
        finite = finite and bool(np.isfinite(scores).all())
        if len(scores) == 1:
            labels[z, start:stop] = scores[0] * (scales[0][z] * scales[1][start:stop]) > threshold
        else:
            labels[z, start:stop] = scores.argmax(0)
    return finite


def scale_rows(
    store: np.ndarray, table: np.ndarray, planes: Range, scales: Scales, target: np.ndarray, origin: int
) -> bool:
    """Writes mean scores of finished sums into `target` (classes, planes from `origin`, Y, X); False: not finite."""
    finite = True
    for z, start, stop, scores in _finished(store, table, planes, (0, target.shape[2])):
        finite = finite and bool(np.isfinite(scores).all())
        np.multiply(scores, scales[0][z] * scales[1][start:stop], out=target[:, z - origin, start:stop])
    return finite


def _finished(store: np.ndarray, table: np.ndarray, planes: Range, rows: Range) -> Iterator[tuple]:
    """(z, first row, last row, sums (classes, rows, X)) of every band."""
    classes, blocks, band, columns = store.shape[1:]
    for z in range(*planes):
        for start, stop in _split(*rows, band, rows[1]):
            sums = store[table[z % table.shape[0], start // band], :, :, start % band : start % band + stop - start]
            yield z, start, stop, sums.transpose(0, 2, 1, 3).reshape(classes, stop - start, blocks * columns)


def _split(start: int, stop: int, size: int, cut: int) -> Iterator[Range]:
    """Parts of a range that cross neither a multiple of `size` nor `cut`."""
    while start < stop:
        end = min(stop, start - start % size + size)
        if start < cut < end:
            end = cut
        yield start, end
        start = end
