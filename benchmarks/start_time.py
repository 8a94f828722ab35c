"""Seconds from the start of a process to the first result: `edgecv predict` beside the bare engine.

    python benchmarks/start_time.py --tflite-python DEVICE/bin/python --onnx-python DEVICE/bin/python

Whole processes in turn, the bare one once more as a control. The bare one does what somebody writes who needs one
answer: open a photo with Pillow, crop and resize it, run the engine, print the best class. `DEVICE` is an environment
with `edgecv[tflite]` or `edgecv[onnx]` alone; by default it is this one, where entry points of more packages are looked
through.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import comparison, update_csv
from predict_speed import exported

from edgecv.timing import rotated

_PHOTO = Path(__file__).parent.parent / "edgecv" / "data" / "photos" / "cat.png"

_PICTURE = """
import sys
import numpy as np
from PIL import Image

path, photo = sys.argv[1:]
with Image.open(photo) as image:
    picture = image.convert("RGB")
side = min(picture.size) * 0.875
left, top = ((whole - side) / 2 for whole in picture.size)
box = (left, top, left + side, top + side)
batch = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR, box=box))[None]
"""
_BARE = {
    "tflite": """
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(path)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], batch)
interpreter.invoke()
print(int(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).argmax()))
""",
    "onnx": """
import onnxruntime

session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
print(int(session.run(None, {session.get_inputs()[0].name: batch})[0].argmax()))
""",
}


def _seconds(command: list[str]) -> float:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def _times(python: str, path: Path, form: str, rounds: int) -> dict[str, list[float]]:
    bare = [python, "-c", _PICTURE + _BARE[form], str(path), str(_PHOTO)]
    commands = {
        # As the script `edgecv` starts it.
        "edgecv": [python, "-c", "from edgecv.cli import main; main()", "predict", str(path), str(_PHOTO), "--json"],
        "bare": bare,
        "again": bare,
    }
    for command in commands.values():  # files into memory, bytecode onto disk
        _seconds(command)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name in rotated(list(commands), number):
            times[name].append(_seconds(commands[name]))
    return times


def _row(name: str, form: str, times: dict[str, list[float]]) -> dict[str, Any]:
    extra = [ours - bare for ours, bare in zip(times["edgecv"], times["bare"], strict=True)]
    quarters = statistics.quantiles(extra, n=4)
    return {
        "network": name,
        "format": form,
        "edgecv_seconds": round(statistics.median(times["edgecv"]), 3),
        "bare_seconds": round(statistics.median(times["bare"]), 3),
        "extra_seconds": round(statistics.median(extra), 3),
        "extra_lower_quarter": round(quarters[0], 3),
        "extra_upper_quarter": round(quarters[2], 3),
        "rounds": len(extra),
        **comparison(times["edgecv"], times["bare"], times["again"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["mobilenet_v2"], help="Networks. Default: mobilenet_v2.")
    for form in _BARE:
        parser.add_argument(f"--{form}-python", default=sys.executable, help="The environment's Python.")
    parser.add_argument("--folder", type=Path, default=Path("build/predict_speed"))
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.only:
        for form in _BARE:
            python = getattr(options, f"{form}_python")
            rows.append(_row(name, form, _times(python, exported(name, form, options.folder), form, options.rounds)))
            print(rows[-1], flush=True)
    update_csv(Path(__file__).with_suffix(".csv"), rows, ("network", "format"))


if __name__ == "__main__":
    main()
