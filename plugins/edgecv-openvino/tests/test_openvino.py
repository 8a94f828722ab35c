"""The plugin beside what the conformance kit asks of every exporter: states, names, counters, errors."""

import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import edgecv
import numpy as np
import pytest
from click.testing import CliRunner
from edgecv.calibration import Calibration
from edgecv.cli import cli
from edgecv.errors import ArtifactError, DeviceError, MissingExtraError, OptionError
from edgecv.exporting import make_exporter
from edgecv.session import runtime_of

from edgecv_openvino import OpenVinoExporter
from edgecv_openvino.runtime import OpenVinoRuntime

RUNTIME = OpenVinoRuntime()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino")


@pytest.fixture(scope="module")
def lenet() -> Any:
    return edgecv.deploy(edgecv.build("lenet5", weights="random"), top_k=3)


@pytest.fixture(scope="module")
def classifier(folder: Path, lenet: Any) -> Any:
    return edgecv.export(lenet, to="openvino", path=folder / "lenet5")


@pytest.fixture(scope="module")
def detector(folder: Path) -> Path:
    """A detector with random weights, and the ONNX artifact beside it."""
    deployable = edgecv.deploy(edgecv.build("ssd_tiny", weights="random"), batch=None)
    edgecv.export(deployable, to="onnx", path=folder / "ssd.onnx", verify=False)
    return edgecv.export(deployable, to="openvino", path=folder / "ssd", verify=False).path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def pictures(size: tuple[int, int], channels: int, *, count: int = 2) -> Any:
    chance = np.random.default_rng(0)
    return chance.integers(0, 256, (count, *size, channels), dtype=np.uint8)


def test_the_folder_holds_the_graph_its_weights_and_the_metadata(classifier: Any) -> None:
    assert sorted(path.name for path in classifier.path.iterdir()) == ["edgecv.json", "lenet5.bin", "lenet5.xml"]
    assert runtime_of(classifier.path)[0] == "openvino"
    assert classifier.report.passed
    assert classifier.layers["c1"]
    document = json.loads((classifier.path / "edgecv.json").read_text())
    assert set(document["versions"]["converter"]) >= {"onnx", "openvino"}
    assert set(document["versions"]["engine"]) == {"openvino"}


def test_graphs_that_were_made_before_do_not_show_in_the_bytes(classifier: Any, lenet: Any, folder: Path) -> None:
    import openvino

    for _ in range(50):  # the engine counts what it makes, and names operators so
        openvino.opset13.constant(1.0)
    again = edgecv.export(lenet, to="openvino", path=folder / "again")
    assert again.sha256 == classifier.sha256


def test_no_name_of_the_engine_s_own_is_left(detector: Path) -> None:
    text = (detector / "ssd_tiny.xml").read_text()
    assert "Constant_" not in text
    assert "/sink_port_0" in text
    assert "edgecv_version" not in text


def test_a_detector_answers_like_onnx_at_any_threshold(detector: Path, folder: Path) -> None:
    name, onnx = runtime_of(folder / "ssd.onnx")
    assert name == "onnxruntime"
    known, own = onnx.open(folder / "ssd.onnx"), RUNTIME.open(detector)
    assert {info.name: info for info in own.optional_inputs} == {info.name: info for info in known.optional_inputs}
    assert own.outputs == known.outputs
    image = pictures((160, 160), 3)
    for given in ({}, {"score_threshold": 0.1}, {"score_threshold": 0.15, "iou_threshold": 0.2}, {}):
        feeds = {"image": image, **{key: np.array(value, np.float32) for key, value in given.items()}}
        wanted, answered = known.run(feeds), own.run(feeds)
        assert np.array_equal(wanted["count"], answered["count"])
        for output in ("boxes", "scores"):
            assert np.allclose(wanted[output], answered[output], atol=1e-5)


def test_a_threshold_of_one_thread_is_none_of_another_s(detector: Path) -> None:
    runner = RUNTIME.open(detector)
    image = pictures((160, 160), 3, count=1)
    alone = [runner.run({"image": image, "score_threshold": np.array(value, np.float32)}) for value in (0.05, 0.9)]
    assert alone[0]["count"][0] > alone[1]["count"][0]
    found: list[bool] = []

    def work(value: float, wanted: Any) -> None:
        for _ in range(10):
            answers = runner.run({"image": image, "score_threshold": np.array(value, np.float32)})
            found.append(np.array_equal(answers["scores"], wanted["scores"]))

    threads = [threading.Thread(target=work, args=pair) for pair in zip((0.05, 0.9), alone, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20


def test_tensors_inside_are_exposed_under_their_names(detector: Path, classifier: Any) -> None:
    answers = RUNTIME.open(detector, expose=("pre_nms/scores", "boxes")).run({"image": pictures((160, 160), 3)})
    assert answers["pre_nms/scores"].shape[0] == 2
    layers = sorted(set(classifier.layers.values()))
    exposed = RUNTIME.open(classifier.path, expose=layers).run({"image": pictures((32, 32), 1, count=1)})
    assert set(layers) <= set(exposed)
    message = r"^'.*lenet5' has no tensor 'nothing' inside. Export it again.$"
    with pytest.raises(ArtifactError, match=message):
        RUNTIME.open(classifier.path, expose=("nothing",))


def test_answers_are_the_caller_s_to_keep(classifier: Any) -> None:
    runner = RUNTIME.open(classifier.path)
    images = pictures((32, 32), 1)
    first = runner.run({"image": images[:1]})
    before = first["scores"].copy()
    runner.run({"image": images[1:]})
    assert np.array_equal(first["scores"], before)


def test_float16_is_half_as_large(classifier: Any, folder: Path, lenet: Any) -> None:
    half = edgecv.export(lenet, to="openvino", path=folder / "half", precision="float16")
    assert half.report is not None
    assert half.report.checks[0].tolerance == 5e-3
    whole = (classifier.path / "lenet5.bin").stat().st_size
    assert (half.path / "lenet5.bin").stat().st_size < 0.55 * whole
    assert set(half.layers) == set(classifier.layers)


def test_times_are_of_tensors_that_the_artifact_knows(classifier: Any) -> None:
    feeds = {"image": pictures((32, 32), 1, count=1)}
    times = RUNTIME.profile(classifier.path, feeds, threads=1, seconds=0.05)
    assert sum(each.milliseconds for each in times) > 0
    timed = {tensor for each in times for tensor in each.tensors}
    assert classifier.layers["c1"] in timed
    assert all(each.op for each in times)


def test_multiply_adds_are_those_of_onnx(detector: Path, folder: Path) -> None:
    feeds = {"image": pictures((160, 160), 3)}
    onnx: Any = runtime_of(folder / "ssd.onnx")[1]
    assert RUNTIME.multiply_adds(detector, feeds) == onnx.multiply_adds(folder / "ssd.onnx", feeds)


def test_the_shell_shows_predicts_inspects_and_times(classifier: Any, folder: Path) -> None:
    from PIL import Image

    Image.fromarray(pictures((40, 40), 3)[0]).save(folder / "photo.png")
    (answer,) = json.loads(run("predict", classifier.path, folder / "photo.png", "--json").stdout)
    assert len(answer["results"]) == 3
    inspected = json.loads(run("inspect", classifier.path, "--json").stdout)
    assert inspected["ops"]["Convolution"] == 3
    assert inspected["custom_ops"] == []
    assert run("verify", classifier.path).exit_code == 0
    (measured,) = json.loads(run("benchmark", classifier.path, "--seconds", "0.2", "--json").stdout)
    assert measured["runtime"] == "openvino"
    exporters = json.loads(run("list", "exporters", "--json").stdout)["exporters"]
    assert {"openvino"} <= {each["name"] for each in exporters if each["available"]}


def test_what_cannot_be_opened_is_one_line(classifier: Any, folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    assert not RUNTIME.opens(empty)
    message = r"^'.*empty' cannot be opened as OpenVINO IR: it has 0 pairs of .xml and .bin. Export it again.$"
    with pytest.raises(ArtifactError, match=message):
        RUNTIME.open(empty)
    (empty / "a.bin").touch()
    (empty / "a.xml").write_text("<net><layers>")
    assert RUNTIME.opens(empty)
    for damaged in (lambda: RUNTIME.operators(empty), lambda: RUNTIME.open(empty)):
        with pytest.raises(
            ArtifactError, match=r"^'.*empty' cannot be opened as OpenVINO IR: [^\n]+ Export it again.$"
        ):
            damaged()
    with pytest.raises(DeviceError, match=r"^OpenVINO has no device 'cuda' in edgecv. Use cpu or gpu.$"):
        RUNTIME.open(classifier.path, device="cuda")
    with pytest.raises(OptionError, match=r"^threads must be at least 1, got 0.$"):
        RUNTIME.open(classifier.path, threads=0)


def test_foreign_operators_are_named(folder: Path) -> None:
    path = folder / "foreign"
    path.mkdir()
    (path / "a.bin").touch()
    layers = (
        '<layer type="Const" version="opset1"/><layer type="Relu" version="opset1"/><layer type="X" version="own"/>'
    )
    (path / "a.xml").write_text(f"<net><layers>{layers}</layers></net>")
    assert RUNTIME.operators(path) == {"Relu": 1, "own.X": 1}
    assert RUNTIME.custom_operators(path) == ["own.X"]


def test_without_the_engine_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, classifier: Any) -> None:
    from edgecv_openvino import runtime

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    runtime._core.cache_clear()
    reason = r"openvino is not installed. Run: pip install 'openvino>=2025,<2027'"
    assert RUNTIME.missing() == reason
    assert RUNTIME.devices() == ()
    message = rf"^Opening OpenVINO IR needs openvino, which is not installed. {reason.partition('. ')[2]}$"
    with pytest.raises(MissingExtraError, match=message):
        RUNTIME.open(classifier.path)


def test_options_that_do_not_fit_are_refused(lenet: Any, folder: Path) -> None:
    with pytest.raises(OptionError, match=r"^openvino writes float32, float16, int8, not 'int4'.$"):
        make_exporter("openvino", {"precision": "int4"})
    with pytest.raises(OptionError, match=r"^openvino starts from an ONNX artifact, not from a Deployable.$"):
        make_exporter("openvino", {}).export(lenet, folder / "x")


def test_importing_the_plugin_imports_no_engine() -> None:
    code = "import sys, edgecv_openvino.runtime; print({'openvino', 'nncf', 'onnx', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.fixture(scope="module")
def photos(folder: Path) -> Path:
    """Pictures to calibrate on."""
    from PIL import Image

    (folder / "photos").mkdir()
    rows, columns = np.mgrid[0:48, 0:48]
    for place in range(6):
        pixels = np.stack([(rows * (place + 1)) % 256, (columns * 5) % 256, (rows + columns) * 2], axis=-1).astype(
            np.uint8
        )
        Image.fromarray(pixels).save(folder / "photos" / f"{place}.png")
    return folder / "photos"


def operators(path: Path) -> dict[str, list[str]]:
    """Return type → names of the operators in a folder's graph."""
    (graph,) = path.glob("*.xml")
    found: dict[str, list[str]] = {}
    for layer in ElementTree.parse(graph).getroot().iter("layer"):
        found.setdefault(str(layer.get("type")), []).append(str(layer.get("name")))
    return found


def test_int8_quantises_the_network_s_layers_alone(detector: Path, folder: Path, photos: Path) -> None:
    deployable = edgecv.deploy(edgecv.build("ssd_tiny", weights="random"))
    options: dict[str, Any] = {"precision": "int8", "calibration": photos, "verify": False}
    made = edgecv.export(deployable, to="openvino", path=folder / "int8", bias_correction="fast", **options).path
    rounded = operators(made)["FakeQuantize"]
    assert len(rounded) > 10
    # What goes into the first convolution is what scaling gives.
    assert [name for name in rounded if name.startswith("pipeline/")] == ["pipeline/Sub/fq_output_0"]
    assert (made / "ssd_tiny.bin").stat().st_size < 0.5 * (detector / "ssd_tiny.bin").stat().st_size
    first = folder / "int8-but-one"
    kept = edgecv.export(
        deployable,
        to=OpenVinoExporter(precision="int8", calibration=calibration_of(photos), float_layers=("conv0_conv",)),
        path=first,
        verify=False,
    )
    assert "pipeline/Sub/fq_output_0" not in operators(kept.path)["FakeQuantize"]
    message = r"^float_layers names 'nothing', which is no layer of 'ssd_tiny'.$"
    with pytest.raises(OptionError, match=message):
        edgecv.export(
            deployable,
            to=OpenVinoExporter(precision="int8", calibration=calibration_of(photos), float_layers=("nothing",)),
            path=folder / "never",
            verify=False,
        )


def test_int8_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    with pytest.raises(OptionError, match=r"^openvino in int8 needs real pictures to calibrate on. Give .*$"):
        make_exporter("openvino", {"precision": "int8"})
    with pytest.raises(OptionError, match=r"^bias_correction must be full or fast, got 'none'.$"):
        make_exporter("openvino", {"bias_correction": "none"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    message = r"^openvino in int8 needs nncf, which is not installed. Run: pip install 'edgecv-openvino\[int8\]'$"
    with pytest.raises(MissingExtraError, match=message):
        make_exporter("openvino", {"precision": "int8", "calibration": calibration_of(photos)})


def calibration_of(folder: Path) -> Calibration:
    return Calibration(paths=tuple(sorted(folder.iterdir())))
