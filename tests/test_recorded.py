"""Recorded cases: they fit, they tell a changed file, and they need neither photos nor Pillow."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import edgecv
from edgecv.cli import cli
from edgecv.errors import ArtifactError
from edgecv.kernel_proof import KERNEL_TOLERANCE, compare_kernels, scales_of
from edgecv.metadata import seal
from edgecv.original import Pictures
from edgecv.pipeline import Original
from edgecv.recorded import case_pictures, record_cases
from edgecv.recorded_values import read_values
from edgecv.runtime import Arrays
from edgecv.session import runtime_of
from edgecv.verification import Head

FORMATS = ("onnx", "tflite")
CLASSIFIER = Head(task="classification", activation="softmax", top_k=None)


@pytest.fixture(scope="module")
def files(networks: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    original = Original(networks.deployable("separable"))
    return {form: edgecv.export(original, to=form, path=folder / f"net.{form}").path for form in FORMATS}


def copy_of(path: Path, folder: Path) -> Path:
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    return copy


def document_of(path: Path) -> dict[str, Any]:
    return runtime_of(path)[1].read_metadata(path)


def resealed(path: Path, document: dict[str, Any]) -> Path:
    seal(path, document, runtime_of(path)[1])
    return path


def softmax(logits: Any) -> Any:
    shares = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)


def random(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# Outputs of the shapes that networks have, and the size of the file that they come in.
SHAPES: dict[str, tuple[int, dict[str, Any]]] = {
    "lenet5": (251_000, {"probabilities": random(3, 10)}),
    "resnet50": (102_500_000, {"probabilities": random(3, 1000)}),
    "1000 classes in a small file": (300_000, {"probabilities": random(3, 1000)}),
    "ssd_tiny": (
        840_000,
        {
            "boxes": random(3, 100, 4),
            "scores": random(3, 100),
            "classes": np.ones((3, 100), np.int32),
            "count": np.ones((3,), np.int32),
            "pre_nms/boxes": random(3, 1000, 4),
            "pre_nms/scores": random(3, 1000, 10),
        },
    ),
    "selfie": (480_000, {"mask": np.eye(256, dtype=np.int32)[None].repeat(3, 0), "logits": random(3, 256, 256, 1)}),
    "many classes of pixels": (
        9_700_000,
        {
            "mask": np.random.default_rng(0).integers(0, 21, (3, 320, 320), np.int32),
            "logits": random(3, 320, 320, 21),
        },
    ),
    "sixty outputs": (1_000_000, {f"output_{index}": random(3, 100) for index in range(60)}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_cases_take_2_percent_or_16_kb_and_use_them(name: str) -> None:
    nbytes, answers = SHAPES[name]
    pictures = Pictures(names=("pattern:0", "pattern:1", "pattern:2"), values=np.zeros((3, 8, 8, 3), np.uint8))
    cases = record_cases(pictures, answers, nbytes)
    text, most = len(json.dumps(cases)), max(16_000, nbytes // 50)
    assert text <= most
    stored, steps = read_values(cases)
    for output, values in answers.items():
        whole = values.reshape(3, -1)[: len(cases)]
        np.testing.assert_array_equal(stored[output], whole[:, :: steps[output]])
        assert stored[output].shape[1] >= min(16, whole.shape[1])
    everything = all(step == 1 for step in steps.values()) and len(cases) == 3
    capped = most > 100_000  # more than any case may take
    assert everything or capped or text > 0.6 * most


def test_too_many_outputs_leave_no_cases_rather_than_too_large_a_file() -> None:
    pictures = Pictures(names=("pattern:0",), values=np.zeros((1, 8, 8, 3), np.uint8))
    assert record_cases(pictures, {f"output_{index}": random(1, 10) for index in range(200)}, 1000) == []


@pytest.mark.parametrize("name", ["separable", "detector", "segmenter", "lenet5"])
def test_answers_differ_between_the_cases(name: str, networks: Any) -> None:
    deployable = networks.deployable(name)
    answers = Original(deployable).case_answers
    floats = {output: values for output, values in answers.items() if values.dtype.kind == "f"}
    judged = [output for output in floats if "/" in output] or list(floats)
    for output in judged:
        values = floats[output].reshape(3, -1)
        assert np.max(np.std(values, axis=0)) > 0.05 * np.max(np.abs(values)), output


def test_a_dynamic_picture_size_has_cases_of_another_aspect_ratio(networks: Any) -> None:
    pictures = case_pictures(networks.deployable("separable", resize="letterbox"))
    assert pictures.values.shape[1:] == (33, 43, 3)


@pytest.mark.parametrize("form", FORMATS)
def test_every_changed_byte_fails_the_digest(form: str, files: dict[str, Path], tmp_path: Path) -> None:
    content = files[form].read_bytes()
    path = tmp_path / files[form].name
    places = np.random.default_rng(0).integers(0, len(content), 40).tolist()
    unread = 0
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            report = edgecv.verify(path)
        except ArtifactError:  # it no longer can be parsed, or its metadata cannot
            unread += 1
            continue
        assert [(check.output, check.problem) for check in report.checks] == [
            ("digest", "the file is damaged: its bytes disagree with its digest")
        ]
    assert unread < len(places) // 2


@pytest.mark.parametrize("form", FORMATS)
def test_changed_weights_under_a_fresh_seal_fail_the_cases(
    form: str, files: dict[str, Path], networks: Any, tmp_path: Path
) -> None:
    changed = networks.deployable("separable")
    weights = changed.network.get_weights()
    weights[-2] = weights[-2] * 1.01
    changed.network.set_weights(weights)
    path = edgecv.export(changed, to=form, path=tmp_path / files[form].name, verify=False).path
    report = edgecv.verify(resealed(path, document_of(files[form])))
    assert not report.passed
    assert "is above 1e-04" in report.summary()
    assert edgecv.verify(files[form]).passed


@pytest.mark.parametrize("form", FORMATS)
def test_one_byte_of_an_int8_weight_under_a_fresh_seal_fails_the_cases(
    form: str, networks: Any, photo_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"net.{form}"
    edgecv.export(
        networks.deployable("separable"), to=form, path=path, precision="int8", calibration=list(photo_folder.iterdir())
    )
    content, document = bytearray(path.read_bytes()), document_of(path)
    content[last_kernel(path)] ^= 0x80  # an int8 weight of the last layer is off by half of the range
    path.write_bytes(content)
    damaged = CliRunner().invoke(cli, ["verify", str(path)])
    assert (damaged.exit_code, damaged.stdout.split(":")[0]) == (1, "FAIL digest")
    tampered = CliRunner().invoke(cli, ["verify", str(resealed(path, document))])
    assert (tampered.exit_code, tampered.stdout.split(":")[0]) == (1, "FAIL probabilities")


def last_kernel(path: Path) -> int:
    """Return where the values of the last layer's kernel begin in an int8 file."""
    content = path.read_bytes()
    if path.suffix == ".onnx":
        import onnx

        found = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        details = interpreter.get_tensor_details()
        found = [interpreter.get_tensor(each["index"]) for each in details if sorted(each["shape"]) == [5, 8]]
    (kernel,) = [values for values in found if sorted(values.shape) == [5, 8] and values.dtype == np.int8]
    return content.index(kernel.tobytes())


@pytest.mark.parametrize("form", FORMATS)
def test_cut_files_are_no_artifacts(form: str, files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / files[form].name
    path.write_bytes(files[form].read_bytes()[:-100])
    with pytest.raises(ArtifactError):
        edgecv.verify(path)


@pytest.mark.parametrize("form", FORMATS)
def test_without_cases_the_digest_is_all_that_can_be_checked(form: str, networks: Any, tmp_path: Path) -> None:
    path = tmp_path / f"net.{form}"
    artifact = edgecv.export(networks.deployable("separable"), to=form, path=path, cases=False)
    assert artifact.report is not None
    assert "cases" not in document_of(path)["verification"]
    message = (
        f"{str(path)!r} records no cases: its digest agrees, and nothing more can be said. "
        "Give --against MODEL, or export it without --no-cases."
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        edgecv.verify(path)


def test_cases_of_a_kind_that_is_not_known_are_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    path = copy_of(files["onnx"], tmp_path)
    document = document_of(path)
    document["verification"]["cases"][1]["picture"] = "photo:cat"
    message = (
        f"{str(path)!r} records a case of 'photo:cat', which this edgecv cannot make. "
        "Export it again, or give --against MODEL."
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        edgecv.verify(resealed(path, document))


def test_metadata_name_the_versions_and_settings(files: dict[str, Path]) -> None:
    document = document_of(files["onnx"])
    assert document["versions"]["edgecv"] == edgecv.__version__
    assert document["versions"]["backend"]["name"] == "tensorflow"
    assert set(document["versions"]["converter"]) == {"onnx", "tf2onnx"}
    assert len(document["versions"]["engine"]) == 1
    assert document["settings"]["devices"] == ["cpu"]
    assert document["settings"]["pictures"] == 8


def judged(before: Any, after: Any, scale: float, head: Head = CLASSIFIER) -> str:
    compared = compare_kernels(head, {"probabilities": before}, {"probabilities": after}, {"probabilities": scale}, {})
    return compared["probabilities"].problem


def test_other_kernels_may_move_int8_logits_by_nine_steps_of_their_range() -> None:
    logits = np.linspace(-8, 8, 30).reshape(3, 10)[:, ::-1]
    scale = scales_of(CLASSIFIER, {"probabilities": softmax(np.linspace(-8, 8, 10)[None])})["probabilities"]
    assert scale == pytest.approx(8, rel=1e-3)
    step = 16 / 255
    moved = logits.copy()
    moved[1, 4] += 8 * step
    assert judged(softmax(logits), softmax(moved), scale) == ""
    moved[1, 4] += 3 * step
    # A constant comes off the logits: a tenth of what one of ten has moved by.
    assert judged(softmax(logits), softmax(moved), scale) == "relative difference 7.8e-02 is above 7e-02"
    assert judged(softmax(logits), softmax(logits[:, ::-1]), scale).startswith("relative difference")
    constant = np.full_like(softmax(logits), 0.1)
    assert judged(softmax(logits), constant, scale).startswith("relative difference")
    assert judged(softmax(logits), constant * np.nan, scale) == "the artifact gives NaN or infinity"
    assert judged(softmax(logits), softmax(logits)[:, :5], scale) == "it has 5 values instead of 10"
    assert KERNEL_TOLERANCE == 9 / 128


def test_int8_top_k_is_compared_by_rank() -> None:
    head = dataclasses.replace(CLASSIFIER, top_k=3)
    scores = softmax(np.linspace(-8, 8, 30).reshape(3, 10))
    scales = scales_of(head, {"probabilities": scores})
    best = -np.sort(-scores, axis=1)[:, :3]
    classes = np.argsort(-scores, axis=1)[:, :3].astype(np.int32)
    recorded: Arrays = {"scores": best, "classes": classes}
    assert compare_kernels(head, recorded, recorded, scales, {})["scores"].problem == ""
    other: Arrays = {"scores": best * 0.1, "classes": classes}
    assert compare_kernels(head, recorded, other, scales, {})["scores"].problem.startswith("relative difference")
