"""What competes, how it is opened, and what comes of it; the processes are replaced where only the order counts."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgecv.benchmarking import running
from edgecv.benchmarking.contender import Contender, Measured, Throughput
from edgecv.benchmarking.peak import measure_peaks
from edgecv.benchmarking.process import Process
from edgecv.benchmarking.running import Settings, benchmark
from edgecv.errors import DeviceError, DigestError, EdgecvError, OptionError
from edgecv.session import runtime_of
from edgecv.timing import Timing


def measured(**changes: Any) -> Measured:
    """Return what a benchmark could have measured."""
    values: dict[str, Any] = {
        "contender": Contender(artifact=Path("a.onnx"), device="cpu", threads=2),
        "runtime": "onnxruntime",
        "provider": "CPUExecutionProvider",
        "precision": "float32",
        "bytes": 1000,
        "batch": 2,
        "timing": Timing(runs=10, p50_ms=4.0, p90_ms=5.0, low_ms=3.9, high_ms=4.2),
        "load_ms": 1.0,
        "first_ms": 2.0,
        "peak_rss_mb": 3.0,
        "throughput": (Throughput(batch=2, pictures_per_second=500.0),),
        "multiply_adds": 10_000_000,
        "peak_gflops": 40.0,
        "profile": None,
    }
    return Measured(**{**values, **changes})


def test_gflops_count_two_operations_a_multiply_add_and_every_picture_of_the_batch() -> None:
    one = measured()
    assert one.gflops == pytest.approx(2 * 10e6 * 2 / 4e-3 / 1e9)
    assert one.share_of_peak == pytest.approx(0.25)
    assert measured(multiply_adds=None).gflops is None
    assert measured(peak_gflops=None).share_of_peak is None


def test_json_is_json() -> None:
    document = json.loads(json.dumps(measured().to_json(), allow_nan=False))
    assert document["interval_ms"] == [3.9, 4.2]
    assert document["throughput"] == [{"batch": 2, "pictures_per_second": 500.0}]


class FakeProcess:
    """Answers at once, and notes what it was asked for."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, contender: Contender) -> None:
        self.name = f"{contender.artifact.name} {contender.threads}"

    def __enter__(self) -> "FakeProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.asked.append(("end", self.name))

    def ask(self, command: str, **_: Any) -> dict[str, Any]:
        self.asked.append((command, self.name))
        answers: dict[str, dict[str, Any]] = {
            "open": {
                "device": "cpu",
                "batch": 1,
                "dynamic": False,
                "runtime": "onnxruntime",
                "provider": "CPU",
                "precision": "float32",
                "first_ms": 2.0,
                "peak_rss_mb": 3.0,
            },
            "turn": {"seconds": [0.001]},
            "load": {"load_ms": 1.0},
            "count": {"multiply_adds": 7},
            "profile": {"nodes": None},
        }
        return answers[command]


def test_all_are_opened_then_timed_in_turn_then_looked_into(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeProcess.asked = []
    monkeypatch.setattr(running, "Process", FakeProcess)
    monkeypatch.setattr(running, "measure_peaks", lambda counts: dict.fromkeys(counts, 50.0))
    warnings: list[str] = []
    rows = benchmark([artifact], Settings(threads=(1, 2), profile=True), warn=warnings.append)
    assert [(row.timing.runs, row.timing.converged, row.multiply_adds) for row in rows] == [(10, True, 7)] * 2
    commands = [command for command, _ in FakeProcess.asked]
    assert commands == ["open"] * 2 + ["turn"] * 22 + ["load", "count", "profile"] * 2 + ["end"] * 2
    turns = [name.split()[1] for command, name in FakeProcess.asked if command == "turn"]
    assert "".join(turns) == "12" + "1221" * 5
    assert warnings == [
        f"{artifact} on cpu with {threads} has no profile: onnxruntime cannot say where the time goes in it."
        for threads in ("1 thread", "2 threads")
    ]


def test_what_is_named_twice_is_measured_once(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeProcess.asked = []
    monkeypatch.setattr(running, "Process", FakeProcess)
    monkeypatch.setattr(running, "measure_peaks", lambda counts: dict.fromkeys(counts, 50.0))
    assert len(benchmark([artifact, artifact], Settings(threads=(1, 1), devices=("cpu", "cpu")))) == 1


def test_a_median_that_is_not_known_well_enough_is_said(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(1, 1000))

    class Wild(FakeProcess):
        def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
            return {"seconds": [float(next(times))]} if command == "turn" else super().ask(command, **arguments)

    monkeypatch.setattr(running, "Process", Wild)
    monkeypatch.setattr(running, "measure_peaks", lambda counts: dict.fromkeys(counts, 50.0))
    warnings: list[str] = []
    (row,) = benchmark([artifact], Settings(threads=(1,), seconds=1e-9), warn=warnings.append)
    assert row.timing.runs == 3
    assert warnings == [
        "After 1e-09 s the medians of 1 of 1 are not known within 2% (worst 33.3%): "
        "the machine is busy, or --seconds is too short."
    ]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Settings(threads=(2, 0)), OptionError, "threads must be at least 1, got 0."),
        (lambda: Settings(seconds=-1), OptionError, "seconds must be above 0, got -1."),
        (lambda: benchmark([]), OptionError, "There is nothing to measure. Name an artifact."),
    ],
    ids=["threads", "seconds", "nothing"],
)
def test_settings_that_cannot_be_are_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        call()


def test_a_damaged_artifact_is_a_digest_error(bare: Path, document: dict[str, Any], seal: Any) -> None:
    seal(bare, document)
    _, found = runtime_of(bare)
    found.write_metadata(bare, {**found.read_metadata(bare), "model": "other"})
    with pytest.raises(DigestError, match=f"^'{bare}' is damaged: its digest disagrees. Export it again.$"):
        benchmark([bare], Settings(threads=(1,)))


def test_a_device_on_which_only_the_other_runs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecv.runtimes.onnxruntime import OnnxRuntime

    monkeypatch.setattr(OnnxRuntime, "devices", lambda _: ("cpu", "cuda"))
    paths = [tmp_path / "a.onnx", tmp_path / "b.tflite"]
    for path in paths:
        path.touch()
    warnings: list[str] = []
    both, alone, nowhere = (
        running._contenders(paths, Settings(threads=(1,), devices=devices), warnings.append)
        for devices in (("cpu", "cuda"), ("cuda",), ("cpu", "npu"))
    )
    assert [(each.artifact.name, each.device) for each in both] == [
        ("a.onnx", "cpu"),
        ("a.onnx", "cuda"),
        ("b.tflite", "cpu"),
    ]
    assert warnings == [f"'{paths[1]}' does not run on cuda: left out there."]
    # What runs nowhere is refused when it is opened.
    assert [each.device for each in alone] == ["cuda", "cuda"]
    assert [each.device for each in nowhere] == ["cpu", "npu"] * 2


def test_an_engine_that_falls_back_to_another_device_is_refused(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "Process", FakeProcess)
    message = f"^{artifact} on cuda with 1 thread ran on cpu. Check the driver, or leave the device out.$"
    with pytest.raises(DeviceError, match=message):
        benchmark([artifact], Settings(threads=(1,), devices=("cuda",)))


def test_a_process_that_dies_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nread line\necho No memory. >&2\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    message = (
        "^The process of a.onnx on cpu with 2 threads ended by SIGKILL: No memory. Leave it out, or free some memory.$"
    )
    with (
        Process(Contender(artifact=Path("a.onnx"), device="cpu", threads=2)) as process,
        pytest.raises(EdgecvError, match=message),
    ):
        process.ask("open")


def test_the_matrix_product_is_measured_for_each_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgecv.benchmarking import peak

    monkeypatch.setattr(peak, "_ROUNDS", 1)
    ((threads, gflops),) = measure_peaks([1]).items()
    assert threads == 1
    assert gflops > 0.01


def test_memory_is_that_of_the_process_and_not_of_its_parent(artifact: Path) -> None:
    held = bytearray(600_000_000)  # getrusage would hand it on to the child
    held[::4096] = b"x" * len(held[::4096])
    with Process(Contender(artifact=artifact, device="cpu", threads=1)) as process:
        said = process.ask("open", artifact=str(artifact), device="cpu", threads=1, keras=False, image=None, imports=[])
    assert 10 < said["peak_rss_mb"] < 300
    del held


@pytest.mark.slow
def test_keras_networks_compete_with_their_artifacts(networks: Any, tmp_path: Path) -> None:
    import edgecv

    path = tmp_path / "separable.keras"
    deployable = networks.deployable("separable")
    deployable.network.save(path)
    exported = tmp_path / "separable.onnx"
    edgecv.export(deployable, to="onnx", path=exported, verify=False)
    ours, theirs = benchmark([exported, path], Settings(threads=(1,), seconds=1))
    assert (ours.runtime, theirs.runtime) == ("onnxruntime", "keras")
    assert ours.multiply_adds == theirs.multiply_adds == 41_512
    assert [rate.batch for rate in theirs.throughput] == [1, 2, 4, 8]


def test_the_process_of_an_artifact_imports_no_framework(artifact: Path) -> None:
    asked = {"do": "open", "artifact": str(artifact), "device": "cpu", "threads": 1, "keras": False, "image": None}
    code = "import sys; from edgecv.benchmarking.worker import main; main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(asked) + "\n", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["device"] == "cpu"
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "edgecv.session" in loaded
    assert not loaded & {"tensorflow", "keras", "onnx", "matplotlib", "psutil", "click", "rich"}
