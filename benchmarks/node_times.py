"""Profiles of the five networks of official size on OpenVINO and ONNX Runtime in f32, as JSON.

    python benchmarks/node_times.py --models FOLDER      (exports what FOLDER lacks; on a quiet machine)

Weights are random and seeded. A result holds the latency, the sum of the nodes, the five most expensive nodes and the
shares of the machine's peak and roofline; `cookbook profile RUN` gives every node.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.measure import describe_machine  # noqa: E402
from benchmarks.seeded import randomise_norms  # noqa: E402
from helpers import recipes  # noqa: E402
from helpers.compile.openvino import compile_openvino  # noqa: E402
from helpers.graph.export import export_network  # noqa: E402
from helpers.graph.read import load_graph  # noqa: E402
from helpers.graph.spec import GraphSpec  # noqa: E402
from helpers.graph.surgery import AxiswiseInstanceNorm, rewrite_graph  # noqa: E402
from helpers.params.targets import load_target  # noqa: E402
from helpers.study.profile import Profile, profile_model  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "node_times.json"
# Recipe and shape of one sample.
NETWORKS = {
    "unet3d": ("unet3d_brats", (4, 64, 64, 64)),
    "unet": ("unet_carvana", (3, 572, 572)),
    "fcn": ("fcn_voc2012", (3, 500, 500)),
    "nnunet2d": ("nnunet_heart", (1, 320, 256)),
    "unetpp": ("unetpp3d_liver", (1, 128, 128, 128)),
}
FILES = {"cpu": "f32.xml", "onnxruntime": "rewritten.onnx"}
_logger = logging.getLogger("benchmarks")


def prepare(name: str, folder: Path) -> None:
    """Exports a network and compiles it, as the stages do."""
    import onnx

    recipe, shape = NETWORKS[name]
    folder.mkdir(parents=True, exist_ok=True)
    network = randomise_norms(recipes.load(recipe).network(None))
    export_network(network, GraphSpec("image", "scores", shape), folder / "model.onnx")
    model, _ = rewrite_graph(load_graph(folder / "model.onnx"), [AxiswiseInstanceNorm()])
    onnx.save(model, str(folder / "rewritten.onnx"))
    compile_openvino(folder / "rewritten.onnx", folder / "f32")


def summarise(profile: Profile) -> dict[str, object]:
    """The figures of a profile without those of every node."""
    whole = profile.to_json()
    figures = {name: value for name, value in whole.items() if name != "nodes"}
    expensive = [{"node": node.node, "op": node.op, "ms": node.ms} for node in profile.most_expensive()]
    return figures | {
        "most_expensive": expensive,
        "ms_by_op": profile.by(lambda node: node.op),
        "ms_by_level": profile.by(lambda node: node.level),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"networks": {}}
    for name in arguments.only:
        folder = arguments.models / name
        if not (folder / "f32.xml").exists():
            prepare(name, folder)
        originals = {node.name for node in load_graph(folder / "model.onnx").graph.node}
        for target, file in FILES.items():
            found = profile_model(
                folder / file,
                folder / "rewritten.onnx",
                load_target(target),
                "f32",
                budget_s=arguments.seconds,
                originals=originals,
            )
            result["networks"].setdefault(name, {})[target] = summarise(found)
            _logger.info("%s %s: %.1f ms, explained %.3f", name, target, found.latency_ms, found.explained)
            result |= {"command": "python benchmarks/node_times.py --models FOLDER", "machine": describe_machine()}
            RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
