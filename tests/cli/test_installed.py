"""`pip install .` into an empty environment gives a command that works from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from helpers import recipes

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run([sys.executable, *build], check=True, timeout=300)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def cookbook(wheel, tmp_path_factory):
    """Runs the installed command; its environment sees the dependencies of this one, but not the clone."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    install = ["-m", "pip", "--python", str(folder / "venv" / "bin" / "python"), "install", "--quiet", "--no-deps"]
    subprocess.run([sys.executable, *install, str(wheel)], check=True, timeout=300)
    dependencies = folder / "venv" / "dependencies"
    dependencies.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "segmentation_deployment_cookbook" not in path.name:
            (dependencies / path.name).symlink_to(path)
    (site / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")

    def run(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COOKBOOK_HOME")
        }
        return subprocess.run(
            [site.parents[2] / "bin" / "cookbook", *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment | variables,
            timeout=900,
        )

    return run


def test_the_wheel_holds_parameters_notebooks_and_pinned_dependencies(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_name,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(metadata_name))
    for folder, pattern in (("params", "*.yaml"), ("notebooks", "*.ipynb")):
        shipped = {name.removeprefix("helpers/_project/") for name in names if f"_project/{folder}/" in name}
        assert shipped == {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}
    assert "helpers/weights/unet3d_brats_demo.safetensors" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"helpers"}
    assert "torch==2.13.0" in metadata.get_all("Requires-Dist")
    assert metadata.get_all("Provides-Extra") == ["itkwidgets", "ray", "test"]


def test_help_and_parameters(cookbook, tmp_path):
    assert cookbook("--help", folder=tmp_path).stdout.startswith("usage: cookbook ")
    assert "Did you mean 'run'?" in cookbook("rn", folder=tmp_path).stderr
    for name in recipes.recipe_names():
        assert name in cookbook("params", name, folder=tmp_path).stdout
    assert "torch" in cookbook("doctor", folder=tmp_path).stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("home", [False, True])
def test_a_demo_run_leaves_its_outputs_in_the_working_folder_or_in_the_home(cookbook, tmp_path, home):
    working, root = tmp_path / "working", tmp_path / ("home" if home else "working")
    for folder in {working, root}:
        folder.mkdir()
    variables = {"COOKBOOK_HOME": str(root)} if home else {}
    done = cookbook("run", "unet_carvana", folder=working, **variables)
    assert done.returncode == 0, done.stderr
    (record,) = root.glob("outputs/unet_carvana/demo-*/run.json")
    assert json.loads(record.read_text(encoding="utf-8"))["status"] == "passed"
    assert [path.name for path in tmp_path.glob("*/*")] == ["outputs"]
