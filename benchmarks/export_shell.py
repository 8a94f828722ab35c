"""`edgecv export` with verification beside Keras' export without any: `python benchmarks/export_shell.py`.

ResNet-50 with random weights to ONNX, whole processes from the shell: imports, building the network, converting and,
for edgecv alone, proving the file and recording its cases. The peer is a script of three lines that calls
`keras.Model.export(format="onnx")`. Rounds are interleaved; the peer runs twice a round, so that its ratio to itself
shows what the machine's noise alone does. Finished rounds are kept in `--folder`: an interrupted run goes on where
it stopped.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import comparison, update_csv

_NETWORKS = {"resnet50": "ResNet50", "mobilenet_v2": "MobileNetV2"}
_PEER = """
import sys, keras, numpy
network = getattr(keras.applications, sys.argv[1])(weights=None)
network(numpy.zeros((1, *network.input_shape[1:]), numpy.float32))  # the export wants a network that was called
network.export(sys.argv[2], format="onnx", verbose=False)
"""


def _seconds(side: str, name: str) -> float:
    """Export once into a new folder, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "network.onnx")
        if side == "edgecv":
            command = [sys.executable, "-m", "edgecv.cli", "export", name, "--to", "onnx", "--weights", "random"]
            command += ["-o", path]
        else:
            command = [sys.executable, "-c", _PEER, _NETWORKS[name], path]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start


def _rounds(name: str, rounds: int, kept: Path) -> dict[str, list[float]]:
    sides = ("edgecv", "keras", "keras again")
    times: dict[str, list[float]] = json.loads(kept.read_text()) if kept.exists() else {side: [] for side in sides}
    while len(times["edgecv"]) < rounds:
        number = len(times["edgecv"]) % len(sides)
        measured = {side: _seconds(side, name) for side in sides[number:] + sides[:number]}
        for side, seconds in measured.items():
            times[side].append(seconds)
        kept.write_text(json.dumps(times))
        print(name, {side: round(values[-1], 1) for side, values in times.items()}, file=sys.stderr)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=_NETWORKS, help="Repeatable. Default: resnet50.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("build/export_shell"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only or ["resnet50"]:
        times = _rounds(name, options.rounds, options.folder / f"{name}.json")
        medians = {side: statistics.median(values) for side, values in times.items()}
        row = {
            "network": name,
            "edgecv_verified_s": round(medians["edgecv"], 2),
            "keras_unverified_s": round(medians["keras"], 2),
            "rounds": len(times["edgecv"]),
            **comparison(times["edgecv"], times["keras"], times["keras again"]),
        }
        print(row, flush=True)
        update_csv(Path(__file__).with_suffix(".csv"), [row], ("network",))


if __name__ == "__main__":
    main()
