"""A network in a browser beside the same ONNX file in ONNX Runtime: `python benchmarks/browser.py`.

The plugin edgecv-web and a Chromium are needed. Both sides get the same picture in turn; of the page, the time that it
measures itself counts, as its visitors see it: what it takes to bring the picture into the page is not in it. Threads
are those of a host that isolates the page; without its headers a page has one.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import compare_rounds, onnx_session, update_csv

import edgecv
from edgecv.photos import shipped_photos
from edgecv.pictures import picture_of_array

_NETWORKS = ("mobilenet_v2", "ssd_tiny")
_CSV = Path(__file__).with_suffix(".csv")


def _exported(name: str, form: str, path: Path) -> Path:
    command = [sys.executable, "-m", "edgecv.cli", "export", name, "--weights", "random", "--to", form]
    subprocess.run([*command, "-o", str(path)], check=True, stdout=sys.stderr)
    return path


def _measure(name: str, threads: int, native: Path, page: Path, rounds: int, turns: int) -> dict[str, Any]:
    session = edgecv.load(page, threads=threads)
    engine = onnx_session(native, threads)
    image = session.feed([picture_of_array(np.array(shipped_photos()["cat"]))])
    medians: dict[str, list[float]] = {"native": [], "browser": [], "from_python": []}
    for number in range(rounds + 1):
        times: dict[str, list[float]] = {each: [] for each in medians}
        for _ in range(turns):
            begin = _now()
            engine.run(None, {"image": image})
            middle = _now()
            session.run(image)
            times["native"].append(middle - begin)
            times["from_python"].append(_now() - middle)
            times["browser"].append(getattr(session.runner, "milliseconds"))  # noqa: B009 - a plugin's runner
        if number:  # the first round compiles
            for each, values in times.items():
                medians[each].append(statistics.median(values))
    ratio = compare_rounds(medians["browser"], medians["native"])
    return {
        "network": name,
        "threads": threads,
        **{f"{each}_ms": round(statistics.median(values), 2) for each, values in medians.items()},
        "rounds": rounds,
        "ratio": round(ratio.value, 3),
        "ratio_low": round(ratio.low, 3),
        "ratio_high": round(ratio.high, 3),
        "provider": session.provider,
    }


def _now() -> float:
    return 1e3 * time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=_NETWORKS, help="default: all")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--turns", type=int, default=15, help="runs of each in a round")
    options = parser.parse_args()
    for name in options.network or _NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            native = _exported(name, "onnx", Path(folder) / f"{name}.onnx")
            page = _exported(name, "web", Path(folder) / "page")
            for threads in (1, 2):
                row = _measure(name, threads, native, page, options.rounds, options.turns)
                print(row, file=sys.stderr)
                update_csv(_CSV, [row], ("network", "threads"))


if __name__ == "__main__":
    main()
