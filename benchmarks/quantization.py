"""Size, latency and accuracy of float32, float16 and int8, in both formats: `python benchmarks/quantization.py`.

Latency is the median of `Session.run` on one picture: the three precisions of a format are timed in turn, on 1 and on 2
threads. Accuracy is the agreement of the artifact's answers with those of the float original in Keras, on crops of
photos of which calibration has seen none: the best class, or for detectors the boxes. `drop` is what is lacking to 1.

EfficientNet-Lite0 and SSD-MobileNetV2 have trained weights, from packages. MobileNetV2 and ResNet-50 have seeded random
ones where published weights cannot be fetched, as the column `weights` says: their classes lie closer together, so
their drop says little of trained networks. Files and finished rows are kept in `--folder`: an interrupted run goes on
where it stopped.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from measuring import update_csv
from photos import crops

import edgecv
from edgecv.errors import VerificationError
from edgecv.judging import AgreementJudge
from edgecv.pictures import read_picture
from edgecv.timing import time_in_turn

_NETWORKS = ("efficientnet_lite0", "mobilenet_v2", "resnet50", "ssd_mobilenet_v2")
_FORMATS = ("onnx", "tflite")
_PRECISIONS = ("float32", "float16", "int8")
_CALIBRATION, _HELD_OUT = 125, 100  # of the first, every fifth judges the export and does not calibrate


def _artifact(deployable: Any, form: str, precision: str, folder: Path) -> Path:
    path = folder / f"{deployable.name}-{precision}.{form}"
    if path.exists():
        return path
    print(f"exporting {path.name}", file=sys.stderr)
    options: dict[str, Any] = {"precision": precision}
    if precision == "int8":
        photos = folder / "calibration"
        crops(photos, _CALIBRATION, "calibration")
        options["calibration"] = photos
    try:
        edgecv.export(deployable, to=form, path=path, **options)
    except VerificationError as error:  # a row that says so is worth more than none
        print(f"not verified: {error}", file=sys.stderr)
        edgecv.export(deployable, to=form, path=path, verify=False, **options)
    return path


def _milliseconds(paths: dict[str, Path], picture: Path, threads: int, seconds: float) -> dict[str, float]:
    sessions = {precision: edgecv.load(path, threads=threads) for precision, path in paths.items()}
    feeds = {precision: session.feed([read_picture(picture)]) for precision, session in sessions.items()}
    calls = {
        precision: lambda session=session, feed=feeds[precision]: session.run(feed)
        for precision, session in sessions.items()
    }
    timings = time_in_turn(calls, seconds=seconds)
    return {precision: timing.p50_ms for precision, timing in timings.items()}


def _rows(deployable: Any, form: str, judge: AgreementJudge, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one network in one format."""
    folder = options.folder
    paths = {precision: _artifact(deployable, form, precision, folder) for precision in _PRECISIONS}
    picture = crops(folder / "held_out", _HELD_OUT, "held_out")[0]
    times = {threads: _milliseconds(paths, picture, threads, options.seconds) for threads in (1, 2)}
    whole = paths["float32"].stat().st_size
    rows = []
    for precision, path in paths.items():
        session = edgecv.load(path)
        agreement = judge.judge(session)
        rows.append(
            {
                "network": deployable.name,
                "format": form,
                "precision": precision,
                "weights": deployable.weights_source,
                "verified": bool(session.metadata["verification"]),
                "bytes": path.stat().st_size,
                "size_ratio": round(path.stat().st_size / whole, 4),
                "p50_1_thread_ms": round(times[1][precision], 3),
                "p50_2_threads_ms": round(times[2][precision], 3),
                "time_ratio_1": round(times[1][precision] / times[1]["float32"], 3),
                "time_ratio_2": round(times[2][precision] / times[2]["float32"], 3),
                "metric": judge.metric,
                "drop": round(1 - agreement, 4),
                "pictures": judge.pictures,
            }
        )
        print(rows[-1], flush=True)
    return rows


def _network(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one network, measured where an earlier run has not."""
    kept = {form: options.folder / f"{name}-{form}.json" for form in options.formats}
    if not all(path.exists() for path in kept.values()):
        deployable = edgecv.deploy(edgecv.build(name), name=name)
        judge = AgreementJudge(deployable, crops(options.folder / "held_out", _HELD_OUT, "held_out"))
        for form, path in kept.items():
            if not path.exists():
                path.write_text(json.dumps(_rows(deployable, form, judge, options)))
    return [row for path in kept.values() for row in json.loads(path.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=_NETWORKS, help="Repeatable. Default: all.")
    parser.add_argument("--formats", nargs="+", choices=_FORMATS, default=_FORMATS)
    parser.add_argument("--folder", type=Path, default=Path("build/quantization"))
    parser.add_argument("--seconds", type=float, default=30.0, help="Per network, format and number of threads.")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    target = Path(__file__).with_suffix(".csv")
    for name in options.only or _NETWORKS:
        update_csv(target, _network(name, options), ("network", "format", "precision"))


if __name__ == "__main__":
    main()
