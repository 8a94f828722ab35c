"""Time and peak memory of an export, beside Keras' own: `python benchmarks/export_speed.py`.

ResNet-50 with random weights, float32 input. Each run is a process of its own that builds the network first;
what is timed is from the network in memory to the file on disk. Rounds are interleaved; the peer runs twice a
round, so that its ratio to itself shows what the machine's noise alone does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import compare_rounds, write_csv

_PAIRS = {
    "onnx": ("edgecv onnx", "keras onnx", "keras onnx again"),
    "tflite": ("edgecv tflite", "keras litert", "keras litert again"),
}


def _status(field: str) -> float:
    """Return a field of /proc/self/status in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def _child(what: str, folder: Path) -> None:
    import time

    from edgecv.quiet import quiet_frameworks

    with quiet_frameworks():
        import keras
        import tf2onnx.tfonnx  # noqa: F401  so that no side pays for importing it

        import edgecv
        from edgecv.registry import load_exporter

        network = keras.applications.ResNet50(weights=None)
        # Keras' export wants a network that was called.
        network(keras.ops.zeros((1, 224, 224, 3)))
        deployable = edgecv.deploy(network, preprocess="caffe", input_dtype="float32", batch=None)
        # Writing 5 resets the peak to what is resident now.
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        start = time.perf_counter()
        side, form, *_ = what.split()
        if side == "edgecv":
            exporter = load_exporter(form)()
            exporter.export(deployable, folder / f"file{exporter.suffix}")
        else:
            suffix = ".onnx" if form == "onnx" else ".tflite"
            network.export(str(folder / f"file{suffix}"), format=form, verbose=False)
        seconds = time.perf_counter() - start
    peak = _status("VmHWM")
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "added_mb": peak - before}))


def _measure(what: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", what, "--folder", folder]
        result: dict[str, float] = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    print(f"{what}: {result['seconds']:.2f} s, peak {result['peak_mb']:.0f} MB", file=sys.stderr)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--formats", nargs="+", choices=list(_PAIRS), default=list(_PAIRS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.child, options.folder)
        return
    wanted = [what for form in options.formats for what in _PAIRS[form]]
    runs: dict[str, list[dict[str, float]]] = {what: [] for what in wanted}
    for _ in range(options.rounds):
        for what in wanted:
            runs[what].append(_measure(what))
    rows = []
    for form in options.formats:
        ours, peer, again = _PAIRS[form]
        for measure in ("seconds", "peak_mb", "added_mb"):
            values = {what: [run[measure] for run in runs[what]] for what in (ours, peer, again)}
            ratio = compare_rounds(values[ours], values[peer])
            control = compare_rounds(values[again], values[peer])
            rows.append(
                {
                    "network": "resnet50",
                    "format": form,
                    "measure": measure,
                    "edgecv": round(sum(values[ours]) / options.rounds, 3),
                    "keras": round(sum(values[peer]) / options.rounds, 3),
                    "ratio": round(ratio.value, 3),
                    "ratio_low": round(ratio.low, 3),
                    "ratio_high": round(ratio.high, 3),
                    "keras_to_itself": round(control.value, 3),
                    "rounds": options.rounds,
                }
            )
    write_csv(Path(__file__).with_suffix(".csv"), rows)
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
