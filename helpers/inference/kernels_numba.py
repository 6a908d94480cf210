"""The inner loops compiled by numba: each makes one pass over memory without holding the interpreter's lock.

Conditions are written so that the compiler vectorises them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_compiled = njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
_EXPONENT = np.int32(0x7F800000)  # all exponent bits set: infinity or NaN


@_compiled
def add_window(store, table, scores, weights, corner, seen, first, last):
    """As `kernels_numpy.add_window`."""
    classes, _, height, width = scores.shape
    depth, band, columns = table.shape[0], store.shape[3], store.shape[4]
    z, y, x = corner
    for plane in range(first, last):
        chunks = table[(z + plane) % depth]
        old_rows = min(max(seen[1] - y, 0), height) if z + plane >= seen[0] else height
        for index in range(classes):
            for row in range(height):
                place = y + row
                blocks = store[chunks[place // band], index]
                for block in range(x // columns, (x + width - 1) // columns + 1):
                    left = block * columns
                    start, stop = max(left, x), min(left + columns, x + width)
                    target = blocks[block, place % band][start - left : stop - left]
                    source, weight = scores[index, plane, row][start - x : stop - x], weights[plane, row][start - x :]
                    if row >= old_rows and stop > seen[2]:  # cleared in the cache, just before it is added to
                        target[max(seen[2] - start, 0) :] = np.float32(0)
                    for column in range(stop - start):
                        target[column] += source[column] * weight[column]


@_compiled
def label_rows(store, table, planes, rows, scales, threshold, labels):
    """As `kernels_numpy.label_rows`."""
    _, classes, blocks, band, columns = store.shape
    best, winner = np.empty(band * columns, np.float32), np.empty(band * columns, np.int32)
    finite = True
    for z in range(planes[0], planes[1]):
        for index in range(rows[0] // band, (rows[1] - 1) // band + 1):
            chunk, first = table[z % table.shape[0], index], max(rows[0] - index * band, 0)
            count = (min(rows[1] - index * band, band) - first) * columns
            y = index * band + first
            for block in range(blocks):
                part = slice(first * columns, first * columns + count)
                best[:count] = store[chunk, 0, block].ravel()[part]
                winner[:count] = 0
                finite &= _are_finite(best, count)
                for label in range(1, classes):
                    scores = store[chunk, label, block].ravel()[part]
                    finite &= _are_finite(scores, count)
                    _keep_larger(scores, np.int32(label), best, winner)
                if classes == 1:
                    row_scales = scales[1][y:, block * columns : (block + 1) * columns]
                    _keep_above(best[:count], scales[0][z], row_scales, threshold, winner)
                _write_rows(winner, count, labels[z, y:, block * columns : (block + 1) * columns])
    return finite


@_compiled
def scale_rows(store, table, planes, scales, target, origin):
    """As `kernels_numpy.scale_rows`."""
    _, classes, blocks, band, columns = store.shape
    finite = True
    for index in range(classes):
        for z in range(planes[0], planes[1]):
            for y in range(target.shape[2]):
                chunk = table[z % table.shape[0], y // band]
                for block in range(blocks):
                    scores = store[chunk, index, block, y % band]
                    finite &= _are_finite(scores, columns)
                    scaled = target[index, z - origin, y][block * columns : (block + 1) * columns]
                    scale = scales[1][y][block * columns : (block + 1) * columns]
                    for x in range(columns):
                        scaled[x] = scores[x] * (scales[0][z] * scale[x])
    return finite


@_compiled
def _are_finite(scores, count):
    # Integer comparisons are vectorised, those of floats are not.
    bits, largest = scores.view(np.int32), np.int32(0)
    for x in range(count):
        exponent = bits[x] & _EXPONENT
        largest = exponent if exponent > largest else largest
    return largest != _EXPONENT


@_compiled
def _keep_larger(scores, label, best, winner):
    for x in range(scores.shape[0]):
        value, kept = scores[x], winner[x]
        largest = best[x]
        if value > largest:
            largest, kept = value, label
        best[x] = largest
        winner[x] = kept


@_compiled
def _keep_above(scores, plane_scale, row_scales, threshold, winner):
    columns = row_scales.shape[1]
    for row in range(scores.shape[0] // columns):
        scale, values, found = row_scales[row], scores[row * columns :], winner[row * columns :]
        for x in range(columns):
            found[x] = values[x] * (plane_scale * scale[x]) > threshold


@_compiled
def _write_rows(winner, count, labels):
    columns = labels.shape[1]
    for row in range(count // columns):
        found, values = labels[row], winner[row * columns :]
        for x in range(columns):
            found[x] = values[x]
