"""`python3 -m ais_bench`: packs files into batches, pads the last one, splits the outputs, writes the summary."""
import argparse
import json
import os
import sys
import time

import numpy as np

from tool_double_model import Model, ToolError


def parse(arguments):
    parser = argparse.ArgumentParser("ais_bench", allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input")
    parser.add_argument("--output")
    parser.add_argument("--output_dirname")
    parser.add_argument("--outfmt", default="BIN", choices=["NPY", "BIN", "TXT"])
    parser.add_argument("--loop", type=int, default=1)
    parser.add_argument("--device", default="0")
    parser.add_argument("--batchsize", type=int)
    parser.add_argument("--dymBatch", type=int, default=0)
    parser.add_argument("--output_batchsize_axis", type=int, default=0)
    parser.add_argument("--warmup_count", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.output_dirname and not options.output:
        raise ToolError("--output_dirname needs --output")
    if options.outfmt == "TXT":
        raise ToolError("the double of ais_bench does not write TXT")
    if not os.path.isfile(options.model):
        raise ToolError("model file %s does not exist" % options.model)
    return options


def main(arguments):
    options = parse(arguments)
    folder = None
    if options.output:
        folder = os.path.join(options.output, options.output_dirname or time.strftime("%Y_%m_%d-%H_%M_%S"))
    if not options.device.isdigit():
        raise ToolError("the double of ais_bench runs one device")
    summary = run_device(options, int(options.device), folder)
    summary.update(args=[sys.argv[0]] + arguments, pid=os.getpid())
    show(summary)
    if folder:
        # Releases up to 2022 wrote `sumary.json` among the outputs.
        old = os.environ.get("TOOL_DOUBLE_AIS_BENCH") == "2022"
        with open(os.path.join(folder, "sumary.json") if old else folder + "_summary.json", "w") as stream:
            json.dump(summary, stream)


def run_device(options, device, folder):
    if folder:
        os.makedirs(folder, 0o755, exist_ok=True)
    with Model(options.model, device, options.dymBatch) as model:
        columns = list_inputs(options.input, model)
        for _ in range(options.warmup_count):
            model.execute([bytes(port.size) for port in model.data_inputs])
        times, infos = [], {}
        if columns is None:
            for _ in range(options.loop):
                answers, spent = model.execute([bytes(port.size) for port in model.data_inputs])
                times.append(spent)
            if folder:
                save(model, answers, ["pure_infer_data"], options, folder, infos, [[]])
        else:
            run_files(model, columns, options, folder, times, infos)
        return summarise(times, infos, options.batchsize or model.data_inputs[0].dims[0])


def list_inputs(text, model):
    if text is None:
        return None
    parts = text.split(",")
    columns = []
    for part in parts:
        if os.path.isdir(part):
            columns.append([os.path.join(part, name) for name in sorted(os.listdir(part))])
        elif os.path.isfile(part):
            columns.append([part])
        else:
            raise ToolError("input %s does not exist" % part)
    if len(model.data_inputs) == 1 and all(os.path.isfile(part) for part in parts):
        columns = [parts]
    if len(columns) != len(model.data_inputs) or len({len(column) for column in columns}) != 1:
        raise ToolError("the model has %d inputs; the inputs given do not pair up" % len(model.data_inputs))
    return columns


def run_files(model, columns, options, folder, times, infos):
    """As many files as fill the tensor make a batch; the last one is filled with its first file again."""
    sizes = [port.size // (port.dims[0] if model.gear is not None else 1) * (options.dymBatch or 1)
             for port in model.data_inputs]
    first_size = os.path.getsize(columns[0][0])
    if not first_size or sizes[0] % first_size:
        raise ToolError("tensor size %d is no multiple of the file's %d bytes" % (sizes[0], first_size))
    each = sizes[0] // first_size
    for start in range(0, len(columns[0]), each):
        groups = [column[start:start + each] for column in columns]
        padded = [group + [group[0]] * (each - len(group)) for group in groups]
        raws = [b"".join(open(path, "rb").read() for path in group) for group in padded]
        for raw, size in zip(raws, sizes):
            if len(raw) != size:
                raise ToolError("the files of a batch have %d bytes, the tensor %d" % (len(raw), size))
        for _ in range(options.loop):
            answers, spent = model.execute(raws)
            times.append(spent)
        names = [os.path.basename(path).split(".")[0] for path in groups[0]]
        if folder:
            save(model, answers, names, options, folder, infos, list(zip(*groups)), each)


def save(model, answers, names, options, folder, infos, infiles, each=1):
    """One file a sample and output; the samples that only filled a batch up are not saved."""
    outfiles = [[] for _ in names]
    for index, (raw, port) in enumerate(zip(answers, model.current_outputs())):
        array = np.frombuffer(raw, port.dtype).reshape(port.dims)
        axis = options.output_batchsize_axis
        if each > 1 and (axis >= array.ndim or array.shape[axis] % each):
            raise ToolError("output %d, shape %s, cannot be split into %d along axis %d"
                            % (index, list(array.shape), each, axis))
        parts = np.split(array, each, axis) if each > 1 else [array]
        for name, part, written in zip(names, parts, outfiles):
            path = os.path.join(folder, "%s_%d.%s" % (name, index, options.outfmt.lower()))
            part = np.ascontiguousarray(part)
            part.tofile(path) if options.outfmt == "BIN" else np.save(path, part)
            written.append(path)
    for files, written in zip(infiles, outfiles):
        infos[str(len(infos))] = {"infiles": list(files), "outfiles": written}


def summarise(times, infos, batch):
    npu = [spent["npu"] for spent in times]
    summary = {"filesinfo": infos, "npu_compute_time_list": npu, "throughput": 1000 * batch / float(np.mean(npu))}
    for key, part in (("NPU_compute_time", "npu"), ("H2D_latency", "h2d"), ("D2H_latency", "d2h")):
        values = [spent[part] for spent in times]
        summary[key] = {"min": min(values), "max": max(values), "mean": float(np.mean(values)),
                        "median": float(np.median(values)), "percentile(99%)": float(np.percentile(values, 99)),
                        "count": len(values)}
    summary["batch"] = batch
    return summary


def show(summary):
    batch = summary.pop("batch")
    print("-----------------Performance Summary------------------")
    for key in ("H2D_latency", "NPU_compute_time", "D2H_latency"):
        line = ", ".join("%s = %s" % pair for pair in summary[key].items() if pair[0] != "count")
        print("%s (ms): %s" % (key, line))
    print("throughput 1000*batchsize.mean(%d)/NPU_compute_time.mean(%s): %s"
          % (batch, summary["NPU_compute_time"]["mean"], summary["throughput"]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ToolError as error:
        print("[ERROR] %s" % error)
        sys.exit(1)
