"""`edgecv predict` on 200 photos beside plain loops: `python benchmarks/predict_speed.py`.

Both are whole processes from the shell, on the same files, and run in turn. The loops are what a user would write
with Pillow and the engine alone: decode, crop and resize as the network was trained, infer, take the best class.

* *each*: two workers do all of it, the engine with one thread for each;
* *ahead*: two workers decode and resize, the main thread infers with two.

The faster one of the two is the peer; it runs twice a round, so that its ratio to itself shows what the machine's
noise alone does. Artifacts, photos and the times of each round are kept in `--folder`: an interrupted run goes on
where it stopped.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measuring import comparison, update_csv
from photos import crops

_NETWORKS = ("mobilenet_v2", "resnet50")
_FORMATS = ("onnx", "tflite")
_LOOPS = ("each", "ahead")
_SIDES = (480, 1024)


def exported(name: str, form: str, folder: Path) -> Path:
    path = folder / f"{name}.{form}"
    if not path.exists():
        command = [sys.executable, "-m", "edgecv.cli", "export", name, "--weights", "random", "--to", form]
        subprocess.run([*command, "-o", str(path)], check=True, stdout=sys.stderr)
    return path


def _edgecv(path: Path, photos: Path) -> list[str]:
    return [sys.executable, "-m", "edgecv.cli", "predict", str(path), str(photos), "--json"]


def _plain(loop: str, path: Path, photos: Path) -> list[str]:
    return [sys.executable, __file__, "--loop", loop, "--artifact", str(path), "--photos", str(photos)]


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return time.perf_counter() - start


def _best_class(path: Path, threads: int) -> Callable[[Any], int]:
    """Return what opens nothing more than the engine, for one worker or for several in turn."""
    import numpy as np
    from measuring import open_onnx, open_tflite

    run = (open_onnx if path.suffix == ".onnx" else open_tflite)(path, threads)
    return lambda batch: int(np.argmax(run(batch)[0]))


def _fitted(file: Path, size: int, fraction: float) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(file) as image:
        picture = image.convert("RGB")
    side = min(picture.size) * fraction
    left, top = ((whole - side) / 2 for whole in picture.size)
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))[None]


def _loop(loop: str, path: Path, photos: Path) -> None:
    """Answer all photos, and print the classes."""
    files = sorted(photos.iterdir())
    size, fraction = 224, 0.875
    if loop == "ahead":
        best = _best_class(path, 2)
        with ThreadPoolExecutor(2) as pool:
            print([best(batch) for batch in pool.map(lambda file: _fitted(file, size, fraction), files)])
        return
    # Two halves: each worker has an engine of its own, which LiteRT needs.
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(lambda half: list(_answers(path, half, size, fraction)), (files[::2], files[1::2]))
        print(list(halves))


def _answers(path: Path, files: list[Path], size: int, fraction: float) -> Iterator[int]:
    best = _best_class(path, 1)
    for file in files:
        yield best(_fitted(file, size, fraction))


def _rounds(path: Path, photos: Path, rounds: int, kept: Path) -> dict[str, list[float]]:
    """Return the seconds of each round; those that an earlier run measured are kept."""
    commands = {loop: _plain(loop, path, photos) for loop in _LOOPS}
    times: dict[str, list[float]] = json.loads(kept.read_text()) if kept.exists() else {}
    if not times:
        for command in (_edgecv(path, photos), *commands.values()):  # files into memory, bytecode onto disk
            _seconds(command)
        first = {loop: statistics.median(_seconds(command) for _ in range(3)) for loop, command in commands.items()}
        times = {"edgecv": [], min(_LOOPS, key=lambda loop: first[loop]): [], "again": []}
    peer = next(name for name in times if name in _LOOPS)
    while len(times["again"]) < rounds:
        number = len(times["again"])
        order = [("edgecv", _edgecv(path, photos)), (peer, commands[peer]), ("again", commands[peer])]
        measured = {name: _seconds(command) for name, command in order[number % 3 :] + order[: number % 3]}
        for name, seconds in measured.items():
            times[name].append(seconds)
        kept.write_text(json.dumps(times))
        print(path.name, {name: round(values[-1], 2) for name, values in times.items()}, file=sys.stderr)
    return times


def _row(name: str, form: str, pictures: int, times: dict[str, list[float]]) -> dict[str, Any]:
    peer = next(each for each in times if each in _LOOPS)
    seconds = {each: statistics.median(values) for each, values in times.items()}
    # Of throughputs, the ratio is that of the peer's time over edgecv's.
    figures = comparison(times[peer], times["edgecv"], times["edgecv"])
    control = comparison(times[peer], times["again"], times["again"])
    return {
        "network": name,
        "format": form,
        "pictures": pictures,
        "edgecv_per_second": round(pictures / seconds["edgecv"], 2),
        "peer": peer,
        "peer_per_second": round(pictures / seconds[peer], 2),
        "rounds": len(times["edgecv"]),
        "ratio": figures["ratio"],
        "ratio_low": figures["ratio_low"],
        "ratio_high": figures["ratio_high"],
        "peer_to_itself": control["ratio"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=_NETWORKS, help="Repeatable. Default: both.")
    parser.add_argument("--formats", nargs="+", choices=_FORMATS, default=_FORMATS)
    parser.add_argument("--folder", type=Path, default=Path("build/predict_speed"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--loop", choices=_LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--artifact", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--photos", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        _loop(options.loop, options.artifact, options.photos)
        return
    photos = options.folder / f"photos-{options.pictures}"
    crops(photos, options.pictures, sides=_SIDES)
    rows = []
    for name in options.only or _NETWORKS:
        for form in options.formats:
            path = exported(name, form, options.folder)
            kept = options.folder / f"{name}-{form}-{options.pictures}.json"
            rows.append(_row(name, form, options.pictures, _rounds(path, photos, options.rounds, kept)))
            print(rows[-1], flush=True)
    update_csv(Path(__file__).with_suffix(".csv"), rows, ("network", "format"))


if __name__ == "__main__":
    main()
