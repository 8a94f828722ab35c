"""Latency of exported ONNX files beside Keras' own export, over all architectures: `python benchmarks/latency.py`.

All sessions live in one process, ONNX Runtime's spinning is off, and they run in turn. The peer's file is opened
twice: its ratio to itself is the control. A loss is where the 95 % interval of the ratio lies above the larger of
1.03 and the control's spread; below 1 ms, where the difference is also above 20 µs. Files are kept in `--folder`,
so that an interrupted run goes on where it stopped.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Contender, compare_rounds, onnx_session, timed_rounds, write_csv

import edgecv

_SESSIONS = ("edgecv", "keras", "keras again", "edgecv uint8")


def _files(name: str, folder: Path) -> dict[str, Path]:
    files = {
        "edgecv": folder / f"{name}.float32.onnx",
        "keras": folder / f"{name}.keras.onnx",
        "edgecv uint8": folder / f"{name}.uint8.onnx",
    }
    if not all(path.exists() for path in files.values()):
        _export(name, files)
    return {**files, "keras again": files["keras"]}


def _export(name: str, files: dict[str, Path]) -> None:
    from edgecv.files import replace_whole
    from edgecv.quiet import quiet_frameworks

    print(f"exporting {name}", file=sys.stderr)
    network = edgecv.build(name, weights="random")
    edgecv.export(edgecv.deploy(network, input_dtype="float32"), to="onnx", path=files["edgecv"], verify=False)
    edgecv.export(edgecv.deploy(network), to="onnx", path=files["edgecv uint8"], verify=False)
    with quiet_frameworks(), replace_whole(files["keras"]) as temporary:
        network(np.zeros((1, *network.input_shape[1:]), np.float32))
        network.export(str(temporary), format="onnx", verbose=False)


def _feed(session: Any) -> dict[str, Any]:
    """Return a picture for the first input, and ones for any other.

    Keras' export of EfficientNet-B0 turns two captured constants into inputs that the caller must give.
    """
    given, *others = session.get_inputs()
    shape = [side if isinstance(side, int) else 1 for side in given.shape]
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    feed = {given.name: pixels if given.type == "tensor(uint8)" else pixels.astype(np.float32)}
    return feed | {other.name: np.ones(other.shape, np.float32) for other in others}


def _rounds(files: dict[str, Path], threads: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the median milliseconds of each session in each round."""
    contenders: dict[str, Contender] = {what: _contender(files[what], threads) for what in _SESSIONS}
    return timed_rounds(contenders, rounds=rounds, seconds=seconds)


def _contender(path: Path, threads: int) -> Contender:
    session = onnx_session(path, threads)
    feed = _feed(session)
    return lambda _: session.run(None, feed)


def _row(name: str, threads: int, medians: dict[str, list[float]]) -> dict[str, Any]:
    ratio = compare_rounds(medians["edgecv"], medians["keras"])
    control = compare_rounds(medians["keras again"], medians["keras"])
    spread = control.spread
    ours, peer = statistics.median(medians["edgecv"]), statistics.median(medians["keras"])
    loss = ratio.low > max(1.03, spread) and (peer >= 1 or ours - peer > 0.02)
    return {
        "network": name,
        "threads": threads,
        "edgecv_ms": round(ours, 3),
        "keras_ms": round(peer, 3),
        "ratio": round(ratio.value, 3),
        "ratio_low": round(ratio.low, 3),
        "ratio_high": round(ratio.high, 3),
        "keras_to_itself": round(control.value, 3),
        "control_spread": round(spread, 3),
        "loss": loss,
        "edgecv_uint8_ms": round(statistics.median(medians["edgecv uint8"]), 3),
        "rounds": len(medians["keras"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="Default: all architectures.")
    parser.add_argument("--folder", type=Path, default=Path("build/latency"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0, help="Per network and number of threads.")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.names or edgecv.architecture_names():
        files = _files(name, options.folder)
        for threads in (1, 2):
            rows.append(_row(name, threads, _rounds(files, threads, options.rounds, options.seconds)))
            print(rows[-1], flush=True)
    for threads in (1, 2):
        ratios = [row["ratio"] for row in rows if row["threads"] == threads]
        print(f"{threads} threads: geometric mean {statistics.geometric_mean(ratios):.3f} of {len(ratios)} networks")
    if not options.names:
        write_csv(Path(__file__).with_suffix(".csv"), rows)


if __name__ == "__main__":
    main()
