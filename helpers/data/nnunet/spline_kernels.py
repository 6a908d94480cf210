"""Weighted sums along the axes of a volume, compiled by numba: one pass over memory, without the interpreter's lock.

Each new voxel is the sum of `weights.shape[1]` old ones that follow each other, from `first` on. The inner loops run
over neighbours in memory, and every sum has the same order of terms on any number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_compiled = njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
COLUMNS = 128  # columns that are summed at a time: they and their sums stay in the first cache
STRIP = 64  # rows of a plane that are turned at a time


@_compiled
def blend_depth(source, first, weights, target, start, stop):
    """Sums along the first axis: columns `start` to `stop` of (Z, YX) from `source` into `target`."""
    for left in range(start, stop, COLUMNS):
        right = min(stop, left + COLUMNS)
        for place in range(len(first)):
            _sum(source, first[place], weights[place], left, right, target[place, left:right])


@_compiled
def blend_planes(source, first_y, weights_y, first_x, weights_x, target, start, stop):
    """Sums along the second and the third axis: planes `start` to `stop` of (Z, Y, X)."""
    width, rows, columns = source.shape[2], target.shape[1], target.shape[2]
    strip = np.empty((STRIP, width), np.float32)
    turned, blended = np.empty((width, STRIP), np.float32), np.empty((columns, STRIP), np.float32)
    for plane in range(start, stop):
        for top in range(0, rows, STRIP):
            count = min(STRIP, rows - top)
            for left in range(0, width, COLUMNS):
                right = min(width, left + COLUMNS)
                for row in range(count):
                    place = top + row
                    _sum(source[plane], first_y[place], weights_y[place], left, right, strip[row, left:right])
            for row in range(count):
                for column in range(width):
                    turned[column, row] = strip[row, column]
            for column in range(columns):
                _sum(turned, first_x[column], weights_x[column], 0, count, blended[column, :count])
            for row in range(count):
                for column in range(columns):
                    target[plane, top + row, column] = blended[column, row]


@_compiled
def _sum(source, first, weights, left, right, target):
    # Four terms at a time: the sums are read and written a quarter as often.
    count, width = len(weights), right - left
    for x in range(width):
        target[x] = np.float32(0)
    for term in range(0, count - 3, 4):
        a, b = source[first + term, left:right], source[first + term + 1, left:right]
        c, d = source[first + term + 2, left:right], source[first + term + 3, left:right]
        wa, wb, wc, wd = weights[term], weights[term + 1], weights[term + 2], weights[term + 3]
        for x in range(width):
            target[x] = target[x] + wa * a[x] + wb * b[x] + wc * c[x] + wd * d[x]
    for term in range(count - count % 4, count):
        a, wa = source[first + term, left:right], weights[term]
        for x in range(width):
            target[x] += wa * a[x]
