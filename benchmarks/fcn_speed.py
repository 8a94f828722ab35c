"""A fully convolutional network beside the sliding classifier it was made of: `python benchmarks/fcn_speed.py`.

The FCN runs once on a picture of 448 × 448; the classifier runs on the same 8 × 8 windows of 224 × 224, 32 pixels
apart: all 64 in one batch, and one at a time. All sides take uint8 and have the scaling inside. The peer gets its
windows already cut out, which the clock does not count. Keras runs each as a `tf.function` of a fixed shape, on all
cores; the exported files run in ONNX Runtime (spinning off) and LiteRT on 1 and 2 threads. All in one process and
in turn; each peer runs twice a round: its ratio to itself is the control. Wanted: 12 times faster. Files are kept in
`--folder`, so that an interrupted run goes on where it stopped. `--quick` is a trial and writes no CSV.
"""

import argparse
import functools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ENGINES, Contender, compare_rounds, timed_rounds, write_csv

import edgecv
from edgecv.deployable import Deployable

_NETWORKS = ("mobilenet_v2", "resnet50", "efficientnet_lite0")
_SIDE, _WINDOW, _STRIDE = 448, 224, 32
_CELLS = ((_SIDE - _WINDOW) // _STRIDE + 1) ** 2
_WANTED = 12.0

# What is run → pictures in a batch. The FCN's one is the whole picture.
_SIDES = {"fcn": 1, "batch": _CELLS, "single": 1}
# How the windows are run in the CSV → what is run.
_PEERS = {"64 at once": "batch", "one at a time": "single"}

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Run = Callable[[Pixels], Any]


def _picture() -> Pixels:
    from edgecv.photos import shipped_photos
    from edgecv.pictures import fit_picture
    from edgecv.preprocess import Fit

    return fit_picture(next(iter(shipped_photos().values())), Fit(), (_SIDE, _SIDE))


def _windows(picture: Pixels) -> Pixels:
    """Return the windows ``(64, 224, 224, 3)``, row by row."""
    starts = range(0, _SIDE - _WINDOW + 1, _STRIDE)
    return np.stack([picture[y : y + _WINDOW, x : x + _WINDOW] for y in starts for x in starts])


def _deployables(name: str) -> dict[str, Deployable]:
    classifier = edgecv.build(name, weights="random", input_size=(_WINDOW, _WINDOW))
    fcn = edgecv.to_fcn(classifier)
    made = {"fcn": edgecv.deploy(fcn, input_size=(_SIDE, _SIDE), nms=None)}
    return made | {side: edgecv.deploy(classifier, batch=_SIDES[side]) for side in ("batch", "single")}


def _files(name: str, folder: Path, form: str, made: Callable[[], dict[str, Deployable]]) -> dict[str, Path]:
    files = {side: folder / f"{name}.{side}.{form}" for side in _SIDES}
    lacking = [side for side in _SIDES if not files[side].exists()]
    for side in lacking:
        print(f"exporting {files[side].name}", file=sys.stderr)
        edgecv.export(made()[side], to=form, path=files[side], verify=False)
    return files


def _compiled(deployable: Deployable) -> Run:
    import tensorflow as tf

    signature = [tf.TensorSpec(deployable.input.shape, tf.uint8)]
    function = tf.function(lambda image: deployable.graph(image)[0], input_signature=signature, autograph=False)
    return lambda pictures: {name: tensor.numpy() for name, tensor in function(pictures).items()}


def _contenders(runs: dict[str, Run], picture: Pixels) -> dict[str, Contender]:
    windows = _windows(picture)
    alone = [np.ascontiguousarray(window[None]) for window in windows]
    whole = np.ascontiguousarray(picture[None])
    calls: dict[str, Contender] = {
        "fcn": lambda _: runs["fcn"](whole),
        "64 at once": lambda _: runs["batch"](windows),
        "one at a time": lambda _: [runs["single"](window) for window in alone],
    }
    return calls | {f"{peer} again": calls[peer] for peer in _PEERS}


def _check(answer: Any, name: str) -> None:
    """Hold the FCN to one answer a window: a grid of another size would not be the same work."""
    arrays = answer.values() if isinstance(answer, dict) else answer
    cells = {array.shape[1] for array in arrays}
    if cells != {_CELLS}:
        raise SystemExit(f"The FCN of {name} gives {sorted(cells)} cells, not {_CELLS}.")


def _rows(
    name: str, engine: str, threads: int | str, runs: dict[str, Run], options: argparse.Namespace
) -> list[dict[str, Any]]:
    contenders = _contenders(runs, _picture())
    _check(contenders["fcn"](0), name)
    times = timed_rounds(contenders, rounds=options.rounds, seconds=options.seconds, fewest=1)
    rows = []
    for peer in _PEERS:
        faster = compare_rounds(times[peer], times["fcn"])
        control = compare_rounds(times[f"{peer} again"], times[peer])
        rows.append(
            {
                "network": name,
                "engine": engine,
                "threads": threads,
                "windows": peer,
                "fcn_ms": round(statistics.median(times["fcn"]), 2),
                "sliding_ms": round(statistics.median(times[peer]), 2),
                "times_faster": round(faster.value, 2),
                "times_faster_low": round(faster.low, 2),
                "times_faster_high": round(faster.high, 2),
                "wanted": _WANTED,
                "met": faster.value >= _WANTED,
                "peer_to_itself": round(control.value, 3),
                "control_spread": round(control.spread, 3),
                "rounds": options.rounds,
            }
        )
        print(rows[-1], flush=True)
    return rows


def _measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    made = functools.cache(lambda: _deployables(name))
    rows = []
    for form in options.formats:
        if form == "keras":
            runs = {side: _compiled(deployable) for side, deployable in made().items()}
            rows += _rows(name, "Keras", "all", runs, options)
            continue
        engine, opened = ENGINES[form]
        files = _files(name, options.folder, form, made)
        for threads in options.threads:
            rows += _rows(name, engine, threads, {side: opened(files[side], threads) for side in _SIDES}, options)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=_NETWORKS)
    parser.add_argument("--folder", type=Path, default=Path("build/fcn_speed"))
    parser.add_argument("--formats", nargs="+", choices=["keras", *ENGINES], default=["keras", *ENGINES])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=60.0, help="Per network, engine and number of threads.")
    parser.add_argument("--quick", action="store_true", help="Three short rounds, no CSV.")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 1.0
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = [row for name in options.names for row in _measure(name, options)]
    if not options.quick:
        write_csv(Path(__file__).with_suffix(".csv"), rows)


if __name__ == "__main__":
    main()
