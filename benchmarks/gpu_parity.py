"""Parity and latency on an NVIDIA GPU: `python benchmarks/gpu_parity.py FOLDER`.

FOLDER holds artifacts (`edgecv export resnet50 --to onnx`) and, beside each, its network as `NAME.keras`
(`edgecv build`). ONNX Runtime's CUDA provider runs each artifact with TF32 off; its answers are compared with

* the answers of the original on the CPU that are recorded in the artifact, and
* where the network lies beside it and Keras' backend has a GPU (JAX or torch will do), the original on that GPU.

Both within 1e-3 relative: convolutions add in another order there. The provider that really ran is demanded.
Times are of batch 1, in turn, with TF32 off and on, beside the CPU.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measuring import write_csv

import edgecv
from edgecv.comparison import compare
from edgecv.recorded import recorded_pictures
from edgecv.runtimes.onnxruntime import OnnxRuntime
from edgecv.verification import original_answers, run_batched

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


def _gpu_original(network_file: Path, metadata: dict[str, Any], pictures: Any) -> tuple[str, Any] | None:
    """Return the backend and the original's answers on the GPU; None where Keras cannot have them."""
    if not network_file.exists():
        return None
    import keras

    deployable = edgecv.deploy(edgecv.open_model(str(network_file)))
    if deployable.preprocess.to_json() != metadata["preprocess"]:
        raise SystemExit(f"{network_file} is not the network of the artifact: its scaling is another one.")
    try:
        with keras.device("gpu:0"):
            answers = original_answers(deployable, pictures)
    except (RuntimeError, ValueError):  # no GPU in this backend
        return None
    return keras.backend.backend(), next(iter(answers.values()))


def _measure(path: Path, turns: int) -> dict[str, Any]:
    runtime = OnnxRuntime()
    metadata = runtime.read_metadata(path)
    pictures, recorded = recorded_pictures(path, metadata)
    runners = {
        "cuda": runtime.open(path, device="cuda"),
        "cuda_tf32": runtime.open(path, device="cuda", tf32=True),
        "cpu": runtime.open(path),
    }
    activation = metadata["postprocess"]["activation"]

    def difference(original: Any, given: Any) -> float:
        compared = compare(original, given, activation=activation, tolerance=TOLERANCE, classes=True, vacuity=False)
        return float(f"{compared.relative_diff:.2e}")

    answers = {name: run_batched(runner, pictures.values, 1)["probabilities"] for name, runner in runners.items()}
    gpu = _gpu_original(path.with_suffix(".keras"), metadata, pictures)
    row: dict[str, Any] = {
        "artifact": path.name,
        "provider": runners["cuda"].provider,
        "against_original_on_cpu": difference(recorded["probabilities"], answers["cuda"]),
        "original_on_gpu": gpu[0] if gpu else "not run",
        "against_original_on_gpu": difference(gpu[1], answers["cuda"]) if gpu else None,
        "tf32_against_original_on_cpu": difference(recorded["probabilities"], answers["cuda_tf32"]),
    }
    first = pictures.values[:1]
    runs = {name: functools.partial(runner.run, {"image": first}) for name, runner in runners.items()}
    row |= {f"{name}_ms": value for name, value in _milliseconds(runs, turns).items()}
    row["passed"] = all(
        value is None or value <= TOLERANCE
        for value in (row["against_original_on_cpu"], row["against_original_on_gpu"])
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.onnx"))
    if not files:
        raise SystemExit(f"{options.folder} holds no .onnx file.")
    rows = [_measure(path, options.turns) for path in files]
    for row in rows:
        print(row)
    write_csv(options.output, rows)
    if not all(row["passed"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
