"""What MediaPipe Tasks answer for TFLite artifacts, and what `--for mediapipe` writes and refuses.

MediaPipe is no dependency of any extra: it brings OpenCV. ``pip install --no-deps mediapipe==1.2.3`` is enough here.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from edgecv_tflite import TfliteExporter
from edgecv_tflite.suppress import suppress
from keras import layers
from PIL import Image

import edgecv
from edgecv.calibration import Calibration
from edgecv.cli import cli
from edgecv.deployable import ModelInfo
from edgecv.errors import ConversionError, OptionError
from edgecv.greedy import greedy
from edgecv.models import save_model
from edgecv.nms import Nms
from edgecv.photos import shipped_photos
from edgecv.pictures import read_picture

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="mediapipe is not installed. Run: pip install --no-deps mediapipe==1.2.3",
)
LABELS = ["bee", "cat", "dog", "eel", "fox"]

Ask = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Ask MediaPipe: task, artifact and pictures → an answer a picture."""
    worker = Path(__file__).with_name("mediapipe_worker.py")
    process = subprocess.Popen(
        [sys.executable, str(worker)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def answers(task: str, artifact: Path, pictures: list[Path], **options: Any) -> list[Any]:
        job = {"task": task, "artifact": str(artifact), "pictures": [str(path) for path in pictures]}
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**job, "options": options}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        found: list[Any] = answer["answers"]
        return found

    with process:
        yield answers
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], list[Path]]:
    """Return the shipped photos as files of one size, so that nobody resizes them."""
    folder = tmp_path_factory.mktemp("pictures")

    def sized(height: int, width: int) -> list[Path]:
        paths = []
        for name, photo in shipped_photos().items():
            path = folder / f"{name}_{height}_{width}.png"
            Image.fromarray(photo).resize((width, height)).save(path)
            paths.append(path)
        return paths

    return sized


def segmenter(channels: int, activation: str) -> Any:
    """A segmenter whose scores tell pixels apart, deployed with labels."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(5)
    image = keras.Input((32, 40, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(image)
    scores = layers.Conv2D(channels, 1, name="scores", activation=None if activation == "none" else activation)(x)
    network = keras.Model(image, scores, name="segmenter")
    network.edgecv_info = ModelInfo(name="segmenter", task="segmentation")
    return edgecv.deploy(network, preprocess="tf", labels=LABELS[: max(2, channels)])


def exported(deployable: Any, path: Path, **options: Any) -> Path:
    edgecv.export(deployable, to="tflite", path=path, consumer="mediapipe", **options)
    return path


def assert_same_boxes(theirs: list[Any], ours: list[Any]) -> None:
    """MediaPipe gives whole pixels."""
    assert len(theirs) == len(ours)
    for found in theirs:
        alike = [
            each for each in ours if each["label"] == found["label"] and abs(each["score"] - found["score"]) < 2e-6
        ]
        # Left and top are cut, and width and height, so that right and bottom lose up to two pixels.
        lost = [np.abs(np.array(each["box"]) - found["box"] - [0.5, 0.5, 1, 1]).max() for each in alike]
        assert min(lost) <= 1.001


@needs_mediapipe
def test_a_classifier_needs_no_option(ask: Ask, pictures: Any, networks: Any, tmp_path: Path) -> None:
    path = tmp_path / "network.tflite"
    edgecv.export(networks.deployable("separable", labels=LABELS), to="tflite", path=path)
    photos = pictures(24, 24)
    for theirs, ours in zip(ask("classify", path, photos), edgecv.load(path).predict(photos), strict=True):
        assert [(each["label"], each["class"]) for each in theirs] == [(each["label"], each["class"]) for each in ours]
        np.testing.assert_allclose([each["score"] for each in theirs], [each["score"] for each in ours], atol=1e-6)


@needs_mediapipe
def test_a_float_input_is_scaled_as_the_metadata_say(ask: Ask, pictures: Any, networks: Any, tmp_path: Path) -> None:
    # "tf" scales to -1…1; without NormalizationOptions MediaPipe refuses float32.
    deployable = networks.deployable("separable", labels=LABELS, input_dtype="float32", preprocess="tf")
    path = exported(deployable, tmp_path / "network.tflite")
    photos = pictures(24, 24)
    for theirs, ours in zip(ask("classify", path, photos), edgecv.load(path).predict(photos), strict=True):
        assert [each["class"] for each in theirs] == [each["class"] for each in ours]
        np.testing.assert_allclose([each["score"] for each in theirs], [each["score"] for each in ours], atol=1e-5)


@needs_mediapipe
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_detector_gives_the_boxes_of_predict(
    precision: str, ask: Ask, pictures: Any, networks: Any, tmp_path: Path
) -> None:
    nms = Nms(score_threshold=0.05, max_detections=20)
    deployable = networks.deployable("detector", labels=LABELS[:3], nms=nms)
    photos = pictures(*deployable.input_size)
    options = {"calibration": Calibration(paths=tuple(photos))} if precision == "int8" else {}
    path = exported(deployable, tmp_path / "network.tflite", precision=precision, **options)
    session = edgecv.load(path)
    assert [(each.name, each.dtype) for each in session.runner.outputs] == [
        ("boxes", "float32"), ("scores", "float32"), ("classes", "int32"), ("count", "int32"),
    ]  # fmt: skip
    answers = session.predict(photos)
    assert sum(map(len, answers)) > 5
    for theirs, ours in zip(ask("detect", path, photos), answers, strict=True):
        assert_same_boxes(theirs, ours)
    best = answers[0][0]
    (chosen, *_) = ask("detect", path, photos, category_allowlist=[best["label"]], max_results=1)
    assert [each["label"] for each in chosen] == [best["label"]]


@needs_mediapipe
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("activation", ["none", "sigmoid"])
def test_a_segmenter_gives_the_mask_of_predict(
    channels: int, activation: str, ask: Ask, pictures: Any, tmp_path: Path
) -> None:
    deployable = segmenter(channels, activation)
    path = exported(deployable, tmp_path / "network.tflite")
    photos = pictures(*deployable.input_size)
    session = edgecv.load(path)
    (mask,) = session.runner.outputs
    assert (mask.name, mask.dtype, mask.shape) == ("mask", "int32", (1, *deployable.input_size))
    seen = set()
    predictions = session.predict_pictures([read_picture(each) for each in photos])
    for theirs, ours in zip(ask("segment", path, photos), predictions, strict=True):
        assert theirs["labels"] == list(deployable.labels)
        np.testing.assert_array_equal(theirs["mask"], ours.mask)
        seen |= set(np.unique(theirs["mask"]).tolist())
        if channels == 1 or activation == "none":  # classes that rule each other out
            np.testing.assert_allclose(np.sum(theirs["confidences"], axis=0), 1, atol=1e-5)
    assert len(seen) > 1


def test_what_mediapipe_has_no_use_for_is_one_line_before_the_work(networks: Any, tmp_path: Path) -> None:
    separable, detector = networks.deployable("separable"), networks.deployable("detector", labels=LABELS[:3])
    refused = {
        "MediaPipe Tasks have none for localisation. Leave out --for mediapipe": networks.deployable("localiser"),
        "MediaPipe gives RGB pictures alone, and the network takes 1. Leave out --for mediapipe": networks.deployable(
            "lenet5"
        ),
        "MediaPipe gives one picture a run, not any number. Leave out --batch": replace(separable, batch=None),
        "MediaPipe gives one picture a run, not 4. Leave out --batch": replace(separable, batch=4),
        "MediaPipe resizes pictures by itself. Leave out --resize": networks.deployable("separable", resize="stretch"),
        "MediaPipe picks the best classes by itself. Leave out --top-k": networks.deployable("separable", top_k=2),
        # "caffe" is BGR with a mean for each channel
        "MediaPipe scales all channels alike, in RGB, which this network is not made for. Use --input uint8": replace(
            separable, input_dtype="float32"
        ),
        "MediaPipe reads detections that were suppressed. Leave out --no-nms": networks.deployable(
            "detector", labels=LABELS[:3], nms=None
        ),
        "soft suppression is a loop, and MediaPipe opens files without one. Leave out --soft-nms": networks.deployable(
            "detector", labels=LABELS[:3], nms=Nms(soft_sigma=0.5)
        ),
        "MediaPipe finds no class that has no name. Give --labels": replace(detector, labels=()),
    }
    exporter = TfliteExporter(consumer="mediapipe")
    assert {reason: exporter.unsupported(each) for reason, each in refused.items()} == {each: each for each in refused}
    assert exporter.unsupported(detector) is None
    assert TfliteExporter().unsupported(refused["MediaPipe gives one picture a run, not 4. Leave out --batch"]) is None
    path = tmp_path / "network.tflite"
    message = "tflite cannot write lenet5: MediaPipe gives RGB pictures alone, and the network takes 1. "
    with pytest.raises(OptionError, match=f"^{message}Leave out --for mediapipe.$"):
        edgecv.export(networks.deployable("lenet5"), to="tflite", path=path, consumer="mediapipe")
    assert not path.exists()


def test_another_reader_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^tflite writes for any or mediapipe, not for 'coreml'\.$"):
        TfliteExporter(consumer="coreml")  # type: ignore[arg-type]


def test_a_network_with_a_loop_is_one_line(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = layers.GRU(4, name="rows", reset_after=False)(layers.Reshape((8, 24))(image))
    network = keras.Model(image, layers.Dense(3, activation="softmax", name="head")(x), name="recurrent")
    deployable = edgecv.deploy(network, preprocess="0-1")
    message = "recurrent cannot be written for MediaPipe: the network has loops or branches. Leave out --for mediapipe."
    with pytest.raises(ConversionError, match=f"^{message}$"):
        edgecv.export(deployable, to="tflite", path=tmp_path / "network.tflite", consumer="mediapipe")


def test_the_shell_writes_one_that_edgecv_reads_as_any_other(networks: Any, tmp_path: Path) -> None:
    model, path = tmp_path / "detector.keras", tmp_path / "network.tflite"
    network = networks.build("detector")
    save_model(network, model)
    names = tmp_path / "names.txt"
    names.write_text("bee\ncat\ndog\n")
    run = CliRunner().invoke
    options = ["--labels", str(names), "--preprocess", "tf", "--score-threshold", "0.05", "-o", str(path), "--json"]
    result = run(cli, ["export", str(model), "--to", "tflite", "--for", "mediapipe", *options])
    assert result.exit_code == 0, result.output
    (artifact,) = json.loads(result.stdout)["artifacts"]
    assert [(each["name"], each["dtype"]) for each in artifact["outputs"]] == [
        ("boxes", "float32"), ("scores", "float32"), ("classes", "int32"), ("count", "int32"),
    ]  # fmt: skip
    verified = run(cli, ["verify", str(path), "--json"])
    assert (verified.exit_code, json.loads(verified.stdout)["passed"]) == (0, True)
    document = json.loads(run(cli, ["inspect", str(path), "--json"]).stdout)
    assert document["for"] == "mediapipe"
    assert not {"IF", "WHILE"} & set(document["ops"])


def test_each_class_is_suppressed_by_itself_as_greedily_as_ever() -> None:
    """Boxes on a grid, with equal scores: overlaps are often exactly the threshold, which suppresses nothing."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    nms = Nms(score_threshold=0.25, iou_threshold=0.5, max_detections=12)

    def traced(boxes: Any, scores: Any, classes: Any) -> Any:
        return suppress(boxes, scores, classes, nms.score_threshold, nms.iou_threshold, 3, nms.max_detections)

    signature = [tf.TensorSpec((1, 40, 4)), tf.TensorSpec((1, 40)), tf.TensorSpec((1, 40), tf.int32)]
    function: Any = tf.function(traced, input_signature=signature, autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    draw = np.random.default_rng(0)
    for _ in range(50):
        corners = draw.integers(0, 4, (40, 2))
        boxes = np.concatenate([corners, corners + draw.integers(1, 4, (40, 2))], axis=1).astype(np.float32) / 8
        scores = np.sort(draw.integers(0, 20, 40).astype(np.float32) / 20)[::-1]
        classes = draw.integers(0, 3, 40).astype(np.int32)
        arrays: list[Any] = [boxes, scores, classes]
        for detail, values in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(detail["index"], values[None])
        interpreter.invoke()
        keep = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        kept = np.flatnonzero(keep[0])[: nms.max_detections]
        expected = greedy(boxes, np.where(np.arange(3) == classes[:, None], scores[:, None], 0), nms)
        np.testing.assert_array_equal(scores[kept], expected.scores)
        np.testing.assert_array_equal(boxes[kept], expected.boxes)
        np.testing.assert_array_equal(classes[kept], expected.classes)
