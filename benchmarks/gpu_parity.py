"""Parity and latency on an NVIDIA GPU: `python benchmarks/gpu_parity.py FOLDER`.

FOLDER holds artifacts (`edgecv export resnet50 --to onnx`) and, beside each, its network as `NAME.keras`
(`edgecv build`). ONNX Runtime's CUDA provider runs each artifact with TF32 off; its answers are compared with

* the answers of the original on the CPU that are recorded in the artifact, and
* where the network lies beside it and Keras' backend has a GPU (JAX or torch will do), the original on that GPU.

Both within 1e-3 relative, a detector's as verification compares it: convolutions add in another order there.
The provider that really ran is demanded.
Times are of batch 1, in turn, with TF32 off and on, beside the CPU.
"""

import argparse
import functools
import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measuring import write_csv

import edgecv
from edgecv.original import Pictures, original_answers
from edgecv.recorded import recorded_pictures, verify_recorded
from edgecv.report import Report
from edgecv.runtimes.onnxruntime import OnnxRuntime
from edgecv.verification import verify_runner

TOLERANCE = 1e-3


def _milliseconds(runs: Mapping[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Return the median time of each, run in turn after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 5):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= 5:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def _gpu_original(network_file: Path, metadata: dict[str, Any], pictures: Pictures) -> tuple[str, Any, Any] | None:
    """Return the backend, the original and its answers on the GPU; None where Keras cannot have them."""
    if not network_file.exists():
        return None
    import keras

    deployable = edgecv.deploy(edgecv.open_model(str(network_file)))
    if deployable.preprocess.to_json() != metadata["preprocess"]:
        raise SystemExit(f"{network_file} is not the network of the artifact: its scaling is another one.")
    if not _backend_has_gpu():  # TensorFlow would run on the CPU without a word
        return None
    with keras.device("gpu:0"):
        answers = original_answers(deployable, pictures)
    return keras.backend.backend(), deployable, answers


def _backend_has_gpu() -> bool:
    import keras

    if keras.backend.backend() == "torch":
        return bool(importlib.import_module("torch").cuda.is_available())
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except (RuntimeError, ValueError):  # JAX raises where it has no GPU
        return False


def _difference(report: Report) -> float:
    return float(f"{max(check.relative_diff for check in report.checks):.2e}")


def _measure(path: Path, turns: int, device: str) -> dict[str, Any]:
    runtime = OnnxRuntime()
    metadata = runtime.read_metadata(path)
    inside = metadata.get("checkpoints") or ()
    pictures = recorded_pictures(path, metadata)
    runners = {
        "cuda": runtime.open(path, device=device),
        "cuda_tf32": runtime.open(path, device=device, tf32=True),
        "cpu": runtime.open(path),
    }
    recorded = verify_recorded(path, metadata, "onnxruntime", runtime, [device], tolerance=TOLERANCE)
    gpu = _gpu_original(path.with_suffix(".keras"), metadata, pictures)
    against_gpu = None
    if gpu is not None:
        runner = runtime.open(path, device=device, expose=inside)
        against_gpu = verify_runner(runner, "onnxruntime", gpu[1], pictures, gpu[2], TOLERANCE)
    row: dict[str, Any] = {
        "artifact": path.name,
        "provider": runners["cuda"].provider,
        "against_original_on_cpu": _difference(recorded),
        "original_on_gpu": gpu[0] if gpu else "not run",
        "against_original_on_gpu": _difference(against_gpu) if against_gpu else None,
    }
    first = pictures.values[:1]
    runs = {name: functools.partial(runner.run, {"image": first}) for name, runner in runners.items()}
    row |= {f"{name}_ms": value for name, value in _milliseconds(runs, turns).items()}
    row["passed"] = recorded.passed and (against_gpu is None or against_gpu.passed)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: try the script without a GPU.")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.onnx"))
    if not files:
        raise SystemExit(f"{options.folder} holds no .onnx file.")
    rows = [_measure(path, options.turns, options.device) for path in files]
    for row in rows:
        print(row)
    write_csv(options.output, rows)
    if not all(row["passed"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
