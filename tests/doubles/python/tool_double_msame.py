"""The double of msame: options, folders, files and lines as Ascend/tools documents them; anything else is refused."""
import getopt
import os
import random
import sys
import time

from tool_double_model import Model, ToolError

OPTIONS = ["model=", "input=", "output=", "outfmt=", "loop=", "device=", "debug=", "dymBatch="]


def main(arguments):
    try:
        pairs, rest = getopt.getopt(arguments, "", OPTIONS)
    except getopt.GetoptError as error:
        raise ToolError("msame: %s" % error)
    if rest:
        raise ToolError("msame: unexpected argument %s" % rest[0])
    given = {name[2:]: value for name, value in pairs}
    if "model" not in given:
        raise ToolError("model is required")
    if given.get("outfmt", "BIN") not in ("BIN", "TXT"):
        raise ToolError("outfmt must be TXT or BIN")
    if given.get("outfmt") == "TXT":
        raise ToolError("the double of msame does not write TXT")
    loops = int(given.get("loop", "1"))
    if not 1 <= loops <= 100:
        raise ToolError("loop must in 1 to 100")
    if not os.path.isfile(given["model"]):
        raise ToolError("model file %s does not exist" % given["model"])
    with Model(given["model"], int(given.get("device", "0")), int(given.get("dymBatch", "0"))) as model:
        groups = list_inputs(given.get("input"), model)
        times = run(model, groups, loops, output_folder(given.get("output")))
    report(times)


def list_inputs(text, model):
    """[(stem, [file of input 0, ...])], or zeros when there is no --input."""
    if text is None:
        return [("zero_input", None)]
    parts = text.split(",")
    if len(parts) != len(model.data_inputs):
        raise ToolError("the model has %d inputs, %d were given" % (len(model.data_inputs), len(parts)))
    if all(os.path.isfile(part) for part in parts):
        return [(stem_of(parts[0]), parts)]
    if not all(os.path.isdir(part) for part in parts):
        raise ToolError("input %s does not exist" % text)
    columns = [[os.path.join(part, name) for name in sorted(os.listdir(part))] for part in parts]
    if len({len(column) for column in columns}) != 1 or not columns[0]:
        raise ToolError("the input folders hold different numbers of files, or none")
    return [(stem_of(row[0]), list(row)) for row in zip(*columns)]


def stem_of(path):
    return os.path.splitext(os.path.basename(path))[0]


def output_folder(parent):
    if parent is None:
        return None
    if not os.path.isdir(parent):
        os.mkdir(parent)                                     # one level, as msame does
    now = time.localtime()
    name = "%d%d%d_%d_%d_%d_%d" % (now[0], now[1], now[2], now[3], now[4], now[5], random.randrange(1000000))
    folder = os.path.join(parent, name)
    os.mkdir(folder)
    return folder


def run(model, groups, loops, folder):
    times = []
    for stem, paths in groups:
        raws = [bytes(port.size) for port in model.data_inputs]
        if paths is not None:
            raws = [read(path, port, model) for path, port in zip(paths, model.data_inputs)]
        for _ in range(loops if len(groups) == 1 else 1):    # --loop is ignored for a folder
            answers, spent = model.execute(raws)
            times.append(spent["npu"])
            print("Inference time: %gms" % spent["npu"])
        for index, answer in enumerate(answers if folder else []):
            with open(os.path.join(folder, "%s_output_%d.bin" % (stem, index)), "wb") as stream:
                stream.write(answer)
    return times


def read(path, port, model):
    with open(path, "rb") as stream:
        raw = stream.read()
    need = port.size if model.gear is None else len(raw)
    if len(raw) != need:
        raise ToolError("input file %s has %d bytes, the model's input needs %d" % (path, len(raw), need))
    return raw


def report(times):
    mean = sum(times) / len(times)
    if len(times) > 1:
        print("Inference average time : %.2f ms" % mean)
        print("Inference average time without first time: %.2f ms" % (sum(times[1:]) / (len(times) - 1)))
    else:
        print("Inference average time: %f ms" % mean)
    print("[INFO] unload model success, model Id is 1")
    print("[INFO] end to finalize acl")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ToolError as error:
        print("[ERROR] %s" % error)
        sys.exit(1)
