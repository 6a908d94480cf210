"""A model run through `import acl`, as the doubles of the three tools need it: bytes in, bytes out, milliseconds."""
import time

import acl

ACL_TYPES = {0: "float32", 1: "float16", 2: "int8", 3: "int32", 4: "uint8", 6: "int16", 7: "uint16", 8: "uint32",
             9: "int64", 10: "uint64", 11: "float64", 12: "bool"}
H2D, D2H = 1, 2


class ToolError(Exception):
    """The tool ends with this line and a non-zero exit code."""


def ok(ret, what):
    if ret != 0:
        raise ToolError("%s failed, errorCode is %d" % (what, ret))


class Port:
    def __init__(self, name, dims, size, acl_type):
        self.name, self.dims, self.size, self.acl_type = name, list(dims), size, acl_type

    @property
    def dtype(self):
        return ACL_TYPES[self.acl_type]


class Model:
    """Loaded on one device; a context manager that gives everything back."""

    def __init__(self, path, device=0, dynamic_batch=0):
        self.path, self.device, self.dynamic_batch = path, device, dynamic_batch

    def __enter__(self):
        ok(acl.init(), "acl init")
        ok(acl.rt.set_device(self.device), "open device %d" % self.device)
        self.context, ret = acl.rt.create_context(self.device)
        ok(ret, "create context")
        self.id, ret = acl.mdl.load_from_file(self.path)
        if ret != 0:
            self._release()
            raise ToolError("load model from file failed, model file is %s, errorCode is %d" % (self.path, ret))
        self.desc = acl.mdl.create_desc()
        ok(acl.mdl.get_desc(self.desc, self.id), "get model description")
        self.inputs = self._ports(acl.mdl.get_num_inputs, acl.mdl.get_input_dims, acl.mdl.get_input_size_by_index,
                                  acl.mdl.get_input_data_type)
        self.outputs = self._ports(acl.mdl.get_num_outputs, acl.mdl.get_output_dims,
                                   acl.mdl.get_output_size_by_index, acl.mdl.get_output_data_type)
        self.gear = next((i for i, p in enumerate(self.inputs) if p.name == "ascend_mbatch_shape_data"), None)
        self.data_inputs = [p for i, p in enumerate(self.inputs) if i != self.gear]
        self.in_set, self.in_buffers = self._dataset(self.inputs)
        self.out_set, self.out_buffers = self._dataset(self.outputs)
        if self.gear is not None:
            if not self.dynamic_batch:
                raise ToolError("the model has dynamic batches; give --dymBatch")
            ok(acl.mdl.set_dynamic_batch_size(self.id, self.in_set, self.gear, self.dynamic_batch), "set dynamic batch")
        return self

    def __exit__(self, *_):
        for data_set, buffers in ((self.in_set, self.in_buffers), (self.out_set, self.out_buffers)):
            for pointer, _size, buffer in buffers:
                ok(acl.destroy_data_buffer(buffer), "destroy buffer")
                ok(acl.rt.free(pointer), "free")
            ok(acl.mdl.destroy_dataset(data_set), "destroy dataset")
        ok(acl.mdl.destroy_desc(self.desc), "destroy desc")
        ok(acl.mdl.unload(self.id), "unload")
        self._release()

    def _release(self):
        ok(acl.rt.destroy_context(self.context), "destroy context")
        ok(acl.rt.reset_device(self.device), "reset device")
        ok(acl.finalize(), "finalize acl")

    def _ports(self, count, dims, size, data_type):
        ports = []
        for index in range(count(self.desc)):
            described, ret = dims(self.desc, index)
            ok(ret, "get dims")
            ports.append(Port(described["name"], described["dims"], size(self.desc, index), data_type(self.desc, index)))
        return ports

    def _dataset(self, ports):
        data_set, buffers = acl.mdl.create_dataset(), []
        for port in ports:
            pointer, ret = acl.rt.malloc(port.size, 0)
            ok(ret, "malloc device buffer")
            buffer = acl.create_data_buffer(pointer, port.size)
            _, ret = acl.mdl.add_dataset_buffer(data_set, buffer)
            ok(ret, "add dataset buffer")
            buffers.append((pointer, port.size, buffer))
        return data_set, buffers

    def current_outputs(self):
        """Output ports with the dims of the gear that is set."""
        ports = []
        for index, port in enumerate(self.outputs):
            described, ret = acl.mdl.get_cur_output_dims(self.desc, index)
            ok(ret, "get current output dims")
            size = port.size
            if self.gear is not None:
                whole = 1
                for axis in port.dims:
                    whole *= axis
                part = 1
                for axis in described["dims"]:
                    part *= axis
                size = port.size // whole * part
            ports.append(Port(port.name, described["dims"], size, port.acl_type))
        return ports

    def execute(self, raws):
        """(list of output bytes, {'h2d', 'npu', 'd2h'} in ms) of one call; one bytes object a data input."""
        t0 = time.perf_counter()
        data = iter(raws)
        for index, (pointer, size, _buffer) in enumerate(self.in_buffers):
            if index == self.gear:
                continue
            raw = next(data)
            if len(raw) > size:
                raise ToolError("input %d has %d bytes, the model takes %d" % (index, len(raw), size))
            ok(acl.rt.memcpy(pointer, size, acl.util.bytes_to_ptr(raw), len(raw), H2D), "memcpy to device")
        t1 = time.perf_counter()
        ok(acl.mdl.execute(self.id, self.in_set, self.out_set), "execute model")
        t2 = time.perf_counter()
        answers = []
        for (pointer, size, _buffer), port in zip(self.out_buffers, self.current_outputs()):
            host, ret = acl.rt.malloc_host(size)
            ok(ret, "malloc host")
            ok(acl.rt.memcpy(host, size, pointer, size, D2H), "memcpy to host")
            answers.append(bytes(acl.util.ptr_to_bytes(host, size))[:port.size])
            ok(acl.rt.free_host(host), "free host")
        t3 = time.perf_counter()
        return answers, {"h2d": (t1 - t0) * 1e3, "npu": (t2 - t1) * 1e3, "d2h": (t3 - t2) * 1e3}


def batch_of(port):
    return port.dims[0]
