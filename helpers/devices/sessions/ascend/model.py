"""A loaded .om: its tensors and the gears it was compiled with."""

import os
import re

import numpy as np

GEAR_INPUT = "ascend_mbatch_shape_data"  # the last input of a model with gears; written by acl, never by the user
# aclDataType -> numpy. The compiled model decides: an int64 of the ONNX graph is often an int32 here.
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int8",
    3: "int32",
    4: "uint8",
    6: "int16",
    7: "uint16",
    8: "uint32",
    9: "int64",
    10: "uint64",
    11: "float64",
    12: "bool",
}
_FULL_NAME = re.compile(r"[^:]*:\d+:(?P<tensor>.+)")


class Tensor:
    """One input or output.

    Attributes:
        name: of the ONNX graph's tensor if the model keeps it (`node:index:tensor`), else the model's own name.
        dtype: numpy's.
        shapes: one per gear, in the order of `Model.gears`; a single one in a model without gears.
        nbytes: acl's size for the largest gear.
    """

    def __init__(self, name, code, shapes, nbytes):
        if code not in _DTYPES:
            raise ValueError(f"tensor {name} has acl data type {code}, which numpy does not have")
        self.name = name
        self.dtype = np.dtype(_DTYPES[code])
        self.shapes, self.nbytes = shapes, nbytes

    def describe(self):
        """(name, dtype name, shape); an axis that differs between gears is None."""
        axes = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*self.shapes)]  # noqa: B905 (Python 3.8)
        return self.name, self.dtype.name, axes


class Model:
    """A model in the device's memory.

    Args:
        calls: of `start_acl`; the thread has entered the device's context.
        path: the .om.
        stack: a contextlib.ExitStack that unloads it.

    Attributes:
        id, desc: acl's.
        gears: batch sizes, [height, width] or flat lists of dims, as acl lists them; [None] for a static model.
        inputs, outputs: tensors; the gear input is not among them.
        gear_index: index of the gear input, or None.
    """

    def __init__(self, calls, path, stack):
        self._calls = calls
        self.id = calls("mdl.load_from_file", os.fspath(path))
        stack.callback(calls, "mdl.unload", self.id)
        self.desc = calls.module.mdl.create_desc()
        stack.callback(calls, "mdl.destroy_desc", self.desc)
        calls("mdl.get_desc", self.desc, self.id)
        count = calls.module.mdl.get_num_inputs(self.desc)
        names = [calls.module.mdl.get_input_name_by_index(self.desc, index) for index in range(count)]
        self.gear_index = names.index(GEAR_INPUT) if GEAR_INPUT in names else None
        indices = [index for index in range(count) if index != self.gear_index]
        dims = [calls("mdl.get_input_dims", self.desc, index)["dims"] for index in indices]
        self._kind, self.gears = self._read_gears()
        by_gear = [_fill(self._kind, gear, dims) for gear in self.gears]
        self.inputs = [
            self._tensor("input", index, [shapes[place] for shapes in by_gear]) for place, index in enumerate(indices)
        ]
        self.outputs = []  # their shapes are known once each gear has been set: see `read_outputs`

    def read_outputs(self, dataset):
        """Reads the outputs' shapes, gear by gear, with an input dataset that already has its buffers."""
        count = self._calls.module.mdl.get_num_outputs(self.desc)
        by_gear = []
        for gear in range(len(self.gears)):
            self.set_gear(dataset, gear)
            read = "mdl.get_output_dims" if self._kind is None else "mdl.get_cur_output_dims"
            by_gear.append([self._calls(read, self.desc, index)["dims"] for index in range(count)])
        self.outputs = [
            self._tensor("output", index, [shapes[index] for shapes in by_gear]) for index in range(count)
        ]

    def set_gear(self, dataset, gear):
        """Sets the gear of an input dataset; without it a model runs its largest gear, on stale memory."""
        value = self.gears[gear]
        where = (self.id, dataset, self.gear_index)
        if self._kind == "batch":
            self._calls("mdl.set_dynamic_batch_size", *where, value)
        elif self._kind == "hw":
            self._calls("mdl.set_dynamic_hw_size", *where, *value)
        elif self._kind == "dims":
            self._calls("mdl.set_input_dynamic_dims", *where, {"name": "", "dimCount": len(value), "dims": value})

    def find_gear(self, shapes):
        """The gear whose inputs have these shapes.

        Raises:
            ValueError: no gear has them; the message lists those that exist.
        """
        for gear in range(len(self.gears)):
            if all(tuple(t.shapes[gear]) == tuple(shapes[t.name]) for t in self.inputs):
                return gear
        known = ", ".join(f"{t.name} {[tuple(shape) for shape in t.shapes]}" for t in self.inputs)
        raise ValueError(f"no gear of the model has the shapes {shapes}; available: {known}")

    def gear_bytes(self):
        """Bytes of the gear input."""
        return self._calls.module.mdl.get_input_size_by_index(self.desc, self.gear_index)

    def _read_gears(self):
        """("batch", "hw", "dims" or None for a static model, the gears)."""
        if self.gear_index is None:
            return None, [None]
        batches = self._calls("mdl.get_dynamic_batch", self.desc)
        if batches["batchCount"]:
            return "batch", list(batches["batch"])
        sizes = self._calls("mdl.get_dynamic_hw", self.desc, -1)
        if sizes["hwCount"]:
            return "hw", [list(size) for size in sizes["hw"]]
        count = self._calls("mdl.get_input_dynamic_gear_count", self.desc, -1)
        gears = self._calls("mdl.get_input_dynamic_dims", self.desc, -1, count)
        return "dims", [list(gear["dims"][: gear["dimCount"]]) for gear in gears]

    def _tensor(self, role, index, shapes):
        mdl = self._calls.module.mdl
        name = getattr(mdl, f"get_{role}_name_by_index")(self.desc, index)
        full = _FULL_NAME.fullmatch(name) if role == "output" else None
        code = getattr(mdl, f"get_{role}_data_type")(self.desc, index)
        nbytes = getattr(mdl, f"get_{role}_size_by_index")(self.desc, index)
        return Tensor(full.group("tensor") if full else name, code, shapes, nbytes)


def _fill(kind, gear, dims):
    """The inputs' shapes at a gear: -1 filled in with its batch or image size, or all dims of a dims gear."""
    if kind is None:
        return dims
    if kind == "dims":
        flat = iter(gear)
        return [[next(flat) for _ in shape] for shape in dims]
    filled = []
    for shape in dims:
        sizes = iter(gear if kind == "hw" else [gear])
        filled.append([next(sizes) if size == -1 else size for size in shape])
    return filled
