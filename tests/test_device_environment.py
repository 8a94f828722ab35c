"""Where only ``edgecv[tflite]`` or ``edgecv[onnx]`` is installed, the device's commands work.

Fresh processes, also those that they start, find no package but those that the extra brings and what these require.
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from PIL import Image

CORE = ("numpy", "click", "pillow", "rich")
ENGINES = {".tflite": "ai-edge-litert", ".onnx": "onnxruntime"}
# Run by every Python that has this beside it on its path. What is hidden is not found, as where it is not installed.
SITE = """
import os, sys

class Few:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed and not top.startswith("edgecv"):
            return None
        return self.finder.find_spec(name, path, target)

allowed = set(os.environ["ALLOWED"].split())
sys.meta_path[:] = [Few(finder) for finder in sys.meta_path]
"""


def names(distribution: str) -> set[str]:
    """Return a distribution and all that it requires by itself, in one spelling."""
    found: set[str] = set()
    waiting = [distribution]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            needed = requires(name) or []
        except PackageNotFoundError:  # such as what other systems need
            continue
        found.add(name)
        waiting += [re.split(r"[\s<>=!~;\[(]", each)[0] for each in needed if "extra ==" not in each]
    return found


def importable(engine: str) -> set[str]:
    """Return the top-level modules of the device's environment with one engine."""
    distributions = set().union(*(names(each) for each in (*CORE, engine)))
    return {
        module
        for module, owners in packages_distributions().items()
        if any(re.sub(r"[-_.]+", "-", owner).lower() in distributions for owner in owners)
    }


def test_the_lists_are_those_of_the_packages() -> None:
    assert names("rich") == {"rich", "markdown-it-py", "mdurl", "pygments"}
    assert {"numpy", "onnxruntime", "PIL"} <= importable("onnxruntime")
    assert not {"tensorflow", "keras", "onnx", "ai_edge_litert", "psutil", "av"} & importable("onnxruntime")


def test_the_devices_commands_work_with_one_engine_alone(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "ALLOWED": " ".join(importable(ENGINES[artifact.suffix])),
    }
    Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / "red.png")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgecv.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    path, picture = str(artifact), str(tmp_path / "red.png")
    for arguments in (
        ("predict", path, picture, "--json", "--save", str(tmp_path / "out")),
        ("inspect", path, "--json"),
        ("benchmark", path, "--json", "--seconds", "0.2"),  # too short for certain figures, and says so
        ("doctor", "--json"),
        ("list", "--json"),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "" or arguments[0] == "benchmark"
        json.loads(done.stdout)
    for options, extra in ((("export", "lenet5", "--to", "onnx"), "export"), (("predict", path, "clip.mp4"), "video")):
        done = run(*options)
        assert done.returncode == 2
        assert done.stderr.endswith(f"Run: pip install 'edgecv[{extra}]'\n")
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_verify_runs_the_recorded_cases_there(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    command = [sys.executable, "-m", "edgecv.cli"]
    export = [
        *command,
        "export",
        "lenet5",
        "--weights",
        "random",
        "--to",
        "onnx",
        "--to",
        "tflite",
        "-o",
        str(tmp_path),
    ]
    subprocess.run(export, check=True, capture_output=True, timeout=300)
    for suffix, engine in ENGINES.items():
        environment = {
            **os.environ,
            "PYTHONPATH": str(tmp_path / "site"),
            "ALLOWED": " ".join(importable(engine)),
        }
        verify = [*command, "verify", str(tmp_path / f"lenet5{suffix}"), "--json"]
        done = subprocess.run(verify, env=environment, capture_output=True, text=True, timeout=120, check=True)
        assert json.loads(done.stdout)["passed"]
