"""The double of benchmark.x86_64 / .aarch64: lists in, `result/` out, as the READMEs of its users show it."""
import os
import re
import sys
import time

from tool_double_model import Model, ToolError

KNOWN = {"model_type", "om_path", "device_id", "batch_size", "input_text_path", "input_width", "input_height", "useDvpp",
         "output_binary", "round"}
LINE = re.compile(r"(\d+) (\S+) (\d+) (\d+)\n?\Z")


def main(arguments):
    given = {}
    for argument in arguments:
        match = re.match(r"-(\w+)=(.+)\Z", argument)
        if match is None or match[1] not in KNOWN:
            raise ToolError("unknown argument %s" % argument)
        given[match[1]] = match[2]
    for name in ("om_path", "device_id", "batch_size"):
        if name not in given:
            raise ToolError("-%s is missing" % name)
    if not os.path.isfile(given["om_path"]):
        raise ToolError("model file %s does not exist" % given["om_path"])
    os.makedirs("result", exist_ok=True)
    with Model(given["om_path"], int(given["device_id"])) as model:
        batch = int(given["batch_size"])
        if len(model.data_inputs) != 1 or model.data_inputs[0].dims[0] != batch:
            raise ToolError("batch size %d is not the model's %s" % (batch, model.data_inputs[0].dims))
        if "round" in given:
            pure(model, given, batch)
        else:
            vision(model, given, batch)


def pure(model, given, batch):
    rounds = int(given["round"])
    times = [model.execute([bytes(model.data_inputs[0].size)])[1]["npu"] for _ in range(rounds)]
    ms = sum(times) / rounds / batch
    om = os.path.splitext(os.path.basename(given["om_path"]))[0]
    line = "[INFO] ave_throughputRate: %gsamples/s, ave_latency: %gms\n" % (1000 / ms, ms)
    with open("result/PureInfer_perf_of_%s_in_device_%s.txt" % (om, given["device_id"]), "w") as stream:
        stream.write(line)
    print(line, end="")


def vision(model, given, batch):
    check(given)
    listed = read_list(given["input_text_path"], given["input_width"], given["input_height"])
    sample = model.data_inputs[0].size // batch
    folder = "result/dumpOutput_device%s" % given["device_id"]
    os.makedirs(folder, exist_ok=True)
    started, npu = time.perf_counter(), []
    for first in range(0, len(listed), batch):
        group = listed[first:first + batch]
        raws = [read(path, sample) for path in group]
        raws += [bytes(sample)] * (batch - len(group))
        answers, spent = model.execute([b"".join(raws)])
        npu.append(spent["npu"])
        for index, answer in enumerate(answers, start=1):     # outputs are counted from 1
            size = len(answer) // batch
            for place, path in enumerate(group):
                name = "%s_%d.bin" % (os.path.splitext(os.path.basename(path))[0], index)
                with open(os.path.join(folder, name), "wb") as stream:
                    stream.write(answer[place * size:(place + 1) * size])
    write_times(given, batch, len(listed), npu, (time.perf_counter() - started) * 1e3)


def check(given):
    wanted = {"model_type": "vision", "useDvpp": "false", "output_binary": "true"}
    for name, value in wanted.items():
        if given.get(name) != value:
            raise ToolError("the double runs -%s=%s only, not %s" % (name, value, given.get(name)))
    for name in ("input_text_path", "input_width", "input_height"):
        if name not in given:
            raise ToolError("-%s is missing" % name)


def read_list(path, width, height):
    paths = []
    with open(path) as stream:
        for number, line in enumerate(stream):
            match = LINE.match(line)
            if match is None or int(match[1]) != number:
                raise ToolError("%s, line %d is not 'index path width height': %r" % (path, number, line))
            if (match[3], match[4]) != (width, height):
                raise ToolError("%s, line %d: width and height differ from the command's" % (path, number))
            paths.append(match[2])
    if not paths or len(set(paths)) != len(paths):
        raise ToolError("%s is empty, or names a file twice" % path)
    return paths


def read(path, size):
    with open(path, "rb") as stream:
        raw = stream.read()
    if len(raw) != size:
        raise ToolError("%s has %d bytes, a sample needs %d" % (path, len(raw), size))
    return raw


def write_times(given, batch, count, npu, total_ms):
    ms = sum(npu) / len(npu)
    rate = 1000 * batch / ms
    lines = [
        "[e2e] throughputRate: %g, latency: %g" % (1000 * count / total_ms, total_ms),
        "[data read] throughputRate: %g, moduleLatency: %g" % (rate, ms / batch),
        "[preprocess] throughputRate: %g, moduleLatency: %g" % (rate, ms / batch),
        "[infer] throughputRate: %g, Interface throughputRate: %g, moduleLatency: %g" % (rate, rate, ms / batch),
        "[post] throughputRate: %g, moduleLatency: %g" % (rate / batch, ms),
    ]
    name = "result/perf_vision_batchsize_%d_device_%s.txt" % (batch, given["device_id"])
    with open(name, "w") as stream:
        stream.write("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ToolError as error:
        print("[ERROR] %s" % error)
        sys.exit(1)
