"""A segmenter from the network to masks: its head, what is refused, and masks of known pictures in both formats."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from keras import layers, ops
from PIL import Image

import edgecv
from edgecv.cli import cli
from edgecv.deployable import ModelInfo
from edgecv.errors import EdgecvError, OptionError
from edgecv.preprocess import Fit, Preprocess
from edgecv.resize import GraphResize
from edgecv.segmentation import SegmentationHead
from edgecv.session import load

COLOURS = ("red", "green", "blue")
FORMATS = ("onnx", "tflite")
Array = np.ndarray[Any, np.dtype[Any]]


def painter(size: tuple[int, int] = (12, 16), *, told: bool = True, fit: Fit = Fit()) -> keras.Model:
    """A network whose scores of a pixel are its own red, green and blue: known masks without training."""
    image = keras.Input((*size, 3), name="image")
    scores = layers.Conv2D(3, 1, use_bias=False, name="scores")(image)
    network = keras.Model(image, scores, name="painter")
    network.get_layer("scores").set_weights([np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3)])
    if told:
        scaling = Preprocess(style="0-1", scale=(1 / 255,), fit=fit)
        network.edgecv_info = ModelInfo(name="painter", task="segmentation", preprocess=scaling, labels=COLOURS)
    return network


def halves(height: int, width: int, top: int = 0, below: int = 2) -> tuple[Array, Array]:
    """A picture whose upper half is of one colour and whose lower half is of another, and its mask."""
    mask = np.full((height, width), below, np.int32)
    mask[: height // 2] = top
    return np.eye(3, dtype=np.uint8)[mask] * 200 + 20, mask


def scored(classes: int, activation: str | None = None, *, stride: int = 1) -> keras.Model:
    image = keras.Input((8, 12, 3), name="image")
    return keras.Model(image, layers.Conv2D(classes, 1, stride, activation=activation)(image), name="scored")


def test_the_best_class_is_the_pixel_s_and_of_equal_ones_the_lowest() -> None:
    head = SegmentationHead(channels=3, activation="none", output_size=(1, 4))
    scores = np.array([[[[0, 1, 0], [2, 2, 1], [-3, -2, -1], [-0.0, 0.0, 0.0]]]], np.float32)
    outputs, inside = head.apply(ops.convert_to_tensor(scores), (1, 4), ops)
    mask = ops.convert_to_numpy(outputs["mask"])
    assert mask.dtype == np.int32
    assert mask.tolist() == [[[1, 0, 2, 0]]]
    np.testing.assert_array_equal(ops.convert_to_numpy(inside["pre_argmax/logits"]), scores)


@pytest.mark.parametrize(("activation", "values"), [("none", [-1, 0, 0.25, 3]), ("sigmoid", [0, 0.5, 0.625, 1])])
def test_one_channel_is_class_1_against_class_0(activation: str, values: list[float]) -> None:
    head = SegmentationHead(channels=1, activation=activation, output_size=(2, 2))
    scores = np.array(values, np.float32).reshape(1, 2, 2, 1)
    outputs, _ = head.apply(ops.convert_to_tensor(scores), (2, 2), ops)
    assert ops.convert_to_numpy(outputs["mask"]).tolist() == [[[0, 0], [1, 1]]]
    assert head.classes == 2


def test_fewer_pixels_than_the_input_s_are_enlarged_between_their_centres() -> None:
    head = SegmentationHead(channels=1, activation="none", output_size=(1, 2))
    _, inside = head.apply(ops.convert_to_tensor(np.array([[[[0.0], [4.0]]]], np.float32)), (1, 4), ops)
    # Centres of the output lie at -¼, ¼, ¾ and 1¼ of the two values: clamped at the ends.
    assert ops.convert_to_numpy(inside["pre_argmax/logits"]).ravel().tolist() == [0.0, 1.0, 3.0, 4.0]


def test_a_head_survives_its_json() -> None:
    head = SegmentationHead(channels=1, activation="sigmoid", output_size=(3, 4))
    document = head.to_json()
    assert document == {"channels": 1, "activation": "sigmoid", "output_size": [3, 4]}
    assert SegmentationHead.from_json(json.loads(json.dumps(document))) == head
    with pytest.raises(OptionError, match=r"^segmentation makes no sense: KeyError: 'channels'\.$"):
        SegmentationHead.from_json({"output_size": [1, 2]})
    with pytest.raises(OptionError, match="must be one of none, sigmoid, got 'softmax'"):
        SegmentationHead.from_json({**document, "activation": "softmax"})


def test_a_network_that_knows_its_task_becomes_a_segmenter() -> None:
    deployable = edgecv.deploy(painter(fit=Fit(mode="crop")))
    assert (deployable.task, deployable.output_names, deployable.labels) == ("segmentation", ("mask",), COLOURS)
    assert deployable.checkpoints == ("pre_argmax/logits",)
    assert deployable.preprocess.fit == Fit(mode="letterbox")  # a mask of the whole picture
    assert deployable.postprocess() == {
        "activation": "none",
        "added_activation": "none",
        "top_k": None,
        "segmentation": {"channels": 3, "activation": "none", "output_size": [12, 16]},
    }


def test_a_user_s_own_network_is_asked_for() -> None:
    network = painter(told=False)
    assert edgecv.deploy(network).task == "other"
    assert edgecv.deploy(network).output_names == ("scores",)
    assert edgecv.deploy(network, task="segmentation").output_names == ("mask",)
    assert edgecv.deploy(painter(), task="other").output_names == ("scores",)


@pytest.mark.parametrize(
    ("classes", "end", "option", "expected"),
    [
        (4, "softmax", "auto", "softmax"),
        (4, None, "none", "none"),
        (4, "relu", "auto", "none"),  # whatever it is, the best class stays the best
        (1, "sigmoid", "auto", "sigmoid"),
        (1, None, "auto", "none"),
        (1, "sigmoid", "sigmoid", "sigmoid"),
        (1, "hard_sigmoid", "sigmoid", "sigmoid"),
        (1, "tanh", "none", "none"),
    ],
)
def test_what_the_scores_went_through_is_found(classes: int, end: str | None, option: Any, expected: str) -> None:
    deployable = edgecv.deploy(scored(classes, end), task="segmentation", activation=option)
    assert deployable.activation == expected
    assert deployable.added_activation == "none"


def test_the_activation_is_found_behind_layers_that_only_enlarge() -> None:
    image = keras.Input((8, 12, 3))
    x = layers.Conv2DTranspose(1, 2, 2, activation="sigmoid")(layers.MaxPooling2D(4)(image))
    x = layers.Cropping2D(((0, 0), (1, 1)))(layers.UpSampling2D(2, interpolation="bilinear")(x))
    assert edgecv.deploy(keras.Model(image, x), task="segmentation").activation == "sigmoid"
    plain = layers.Conv2DTranspose(1, 2, 2)(layers.MaxPooling2D(2)(image))
    assert edgecv.deploy(keras.Model(image, plain), task="segmentation").activation == "none"


_ONE_CHANNEL = (
    "'scored' gives one channel, whose activation is {}. Where it is unknown, --activation sigmoid takes it for a "
    "probability, and none for a logit."
)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ((4,), {"activation": "softmax"}, "--activation softmax is for classifiers; 'scored' is no classifier."),
        ((4,), {"top_k": 2}, "--top-k is for classifiers; this network is no classifier."),
        ((4,), {"labels": ["a", "b"]}, "There are 2 labels for 4 classes. Give one label a class."),
        ((1,), {"labels": ["a"]}, "There are 1 labels for 2 classes. Give one label a class."),
        ((1,), {"activation": "sigmoid"}, _ONE_CHANNEL.format("none")),
        ((1, "hard_sigmoid"), {}, _ONE_CHANNEL.format("unknown")),
        (
            (1, "softmax"),
            {},
            "'scored' gives one channel through a softmax, which is 1 everywhere. Use sigmoid.",
        ),
        ((4,), {"task": "detection"}, "task must be one of segmentation, other, got 'detection'."),
    ],
)
def test_what_does_not_fit_is_one_line(network: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgecvError) as caught:
        edgecv.deploy(scored(*network), **{"task": "segmentation", **options})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: layers.Dense(4, name="d")(layers.GlobalAveragePooling2D()(x)),
            "A segmenter gives one output (batch, height, width, classes), 'odd' gives (any, 4). "
            "Give a network of that one output.",
        ),
        (
            lambda x: [x, layers.Conv2D(2, 1)(x)],
            "A segmenter gives one output (batch, height, width, classes), 'odd' gives (any, 8, 12, 3), "
            "(any, 8, 12, 2). Give a network of that one output.",
        ),
        (
            lambda x: layers.UpSampling2D(2)(x),
            "'odd' gives scores of 16x24 pixels for pictures of 8x12. "
            "Give a network whose output is no larger than its input.",
        ),
    ],
)
def test_outputs_that_are_no_scores_of_pixels_are_refused(make: Any, message: str) -> None:
    image = keras.Input((8, 12, 3))
    with pytest.raises(OptionError) as caught:
        edgecv.deploy(keras.Model(image, make(image), name="odd"), task="segmentation")
    assert str(caught.value) == message


def test_a_network_of_any_size_is_sized_by_the_caller() -> None:
    image = keras.Input((None, None, 3))
    network = keras.Model(image, layers.Conv2D(4, 3, 2, padding="same")(image), name="any")
    deployable = edgecv.deploy(network, task="segmentation", input_size=(10, 14))
    assert deployable.segmentation is not None
    assert deployable.segmentation.output_size == (5, 7)
    mask = deployable.run(np.zeros((2, 10, 14, 3), np.uint8))["mask"]
    assert (mask.shape, mask.dtype.name) == ((2, 10, 14), "int32")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "options", [{}, {"batch": None}, {"input_dtype": "float32"}, {"resize": "letterbox"}, {"resize": "stretch"}]
)
def test_known_masks_come_out_of_both_formats(form: str, options: dict[str, Any], tmp_path: Path) -> None:
    artifact = edgecv.export(edgecv.deploy(painter(), **options), to=form, path=tmp_path / f"painter.{form}")
    assert artifact.report is not None
    assert artifact.report.task["pixel_agreement"] > 0.99
    session = load(artifact.path)
    side = None if "resize" in options else 12
    batch = options.get("batch", 1)
    assert session.metadata["outputs"] == [{"name": "mask", "shape": [batch, side, side and 16], "dtype": "int32"}]
    for height, width in ((12, 16), (24, 32), (30, 20), (2, 200), (1, 1)):
        pixels, mask = halves(height, width)
        prediction = session.predict_pictures([edgecv.pictures.Picture(pixels)])[0]
        assert prediction.mask is not None
        assert (prediction.mask.shape, prediction.mask.dtype.name) == (mask.shape, "int32")
        # A row beside the border may be on either side where the picture is resized.
        same = prediction.mask == mask
        assert same[np.abs(np.arange(height) + 0.5 - height // 2) > max(1, height / 12)].all()
        if height % 12 == 0:
            assert same.all()
            assert prediction.results == [
                {"class": 0, "label": "red", "pixels": height * width // 2},
                {"class": 2, "label": "blue", "pixels": height * width // 2},
            ]
    report = edgecv.verify(artifact.path)
    assert report.passed
    assert report.task == {"pixel_agreement": 1.0}


@pytest.mark.parametrize("mode", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(12, 16), (37, 91), (131, 45), (1, 1), (1, 200), (333, 20)])
def test_each_pixel_of_a_picture_shows_the_one_of_the_input_below_its_centre(mode: Any, size: tuple[int, int]) -> None:
    mask = np.arange(12 * 16, dtype=np.int32).reshape(1, 12, 16)
    scale = min(Fraction(12, size[0]), Fraction(16, size[1]))
    places = []
    for side, whole in zip(size, (12, 16), strict=True):
        filled = whole if mode == "stretch" else min(whole, max(1, int(side * scale + Fraction(1, 2))))
        centres = [Fraction(2 * pixel + 1, 2) * filled / side for pixel in range(side)]
        places.append([int(centre) + (whole - filled) // 2 for centre in centres])
    resize = GraphResize(mode=mode)
    image = ops.convert_to_tensor(np.zeros((1, *size, 3), np.uint8))
    found = resize.mask_in_picture(ops.convert_to_tensor(mask), image, (12, 16), ops)
    np.testing.assert_array_equal(ops.convert_to_numpy(found), mask[:, places[0]][:, :, places[1]])
    assert [each.tolist() for each in resize.places_in_input(size, (12, 16))] == places


@pytest.mark.parametrize("form", FORMATS)
def test_of_equal_scores_both_formats_take_the_lowest_class(form: str, tmp_path: Path) -> None:
    path = edgecv.export(edgecv.deploy(painter((1, 16))), to=form, path=tmp_path / f"ties.{form}").path
    pixels = np.zeros((1, 1, 16, 3), np.uint8)
    pixels[0, 0, 1] = (9, 9, 0)
    pixels[0, 0, 2] = (0, 9, 9)
    pixels[0, 0, 3] = (9, 0, 9)
    pixels[0, 0, 4:] = 200
    assert load(path).run(pixels)["mask"].tolist() == [[[0, 0, 1, 0] + [0] * 12]]


@pytest.mark.parametrize("mode", ["crop", "letterbox", "stretch"])
def test_masks_lie_on_the_picture_however_it_was_fitted(mode: Any, tmp_path: Path) -> None:
    network = painter(fit=Fit(mode=mode, fraction=1.0))
    path = edgecv.export(edgecv.deploy(network), to="tflite", path=tmp_path / "painter.tflite", verify=False).path
    pixels, mask = halves(48, 24, top=1, below=0)
    prediction = load(path).predict_pictures([edgecv.pictures.Picture(pixels)])[0]
    assert prediction.mask is not None
    assert (prediction.mask == mask).all()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's own segmenter, which does not say what it is."""
    painter(told=False).save(tmp_path / "own.keras")
    (tmp_path / "colours.txt").write_text("red\ngreen\nblue\n")
    return tmp_path / "own.keras"


@pytest.fixture
def exported(own: Path) -> Path:
    path = own.with_suffix(".tflite")
    options = ("--task", "segmentation", "--preprocess", "0-1", "--labels", own.with_name("colours.txt"))
    result = run("export", own, "--to", "tflite", "-o", path, *options, "--json")
    assert result.exit_code == 0, result.stderr
    (artifact,) = json.loads(result.stdout)["artifacts"]
    assert artifact["outputs"] == [{"name": "mask", "shape": [1, 12, 16], "dtype": "int32"}]
    assert list(artifact["verification"]["task"]) == ["pixel_agreement"]
    assert [check["output"] for check in artifact["verification"]["checks"]] == ["pre_argmax/logits", "argmax", "mask"]
    return path


def test_a_user_s_segmenter_goes_from_the_file_to_drawn_masks(exported: Path, own: Path, tmp_path: Path) -> None:
    assert run("verify", exported, "--against", own).exit_code == 0
    pixels, mask = halves(240, 320, top=1, below=0)
    pixels[:60, :80] = (20, 20, 220)
    mask[:60, :80] = 2
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    result = run("predict", exported, tmp_path / "scene.png", "--save", tmp_path / "out", "--json")
    (answer,) = json.loads(result.stdout)
    assert answer["results"] == [
        {"class": 0, "label": "red", "pixels": 38400},
        {"class": 1, "label": "green", "pixels": 33600},
        {"class": 2, "label": "blue", "pixels": 4800},
    ]
    assert answer["saved_mask"] == str(tmp_path / "out" / "scene.mask.png")
    with Image.open(answer["saved_mask"]) as image:
        np.testing.assert_array_equal(np.asarray(image), mask)
        assert image.mode == "P"
    with Image.open(answer["saved"]) as image:
        drawn = np.asarray(image)
    assert drawn.shape[0] > 240  # the legend below
    # Red is no background by its name: all three classes are drawn.
    assert {tuple(drawn[y, x]) == tuple(pixels[y, x]) for y, x in ((30, 40), (60, 200), (200, 100))} == {False}


def test_a_segmenter_is_measured_on_masks(exported: Path, own: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data" / "classes.txt").write_text("red\ngreen\nblue\n")
    for number, (top, below) in enumerate([(0, 1), (1, 2)]):
        pixels, mask = halves(24, 32, top, below)
        if number:
            mask[:, :8] = 0  # the labels say red where it is not: 192 of 768 pixels
        Image.fromarray(pixels).save(tmp_path / "data" / "images" / f"{number}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "data" / "masks" / f"{number}.png")
    own_options = ("--task", "segmentation", "--preprocess", "0-1", "--labels", own.with_name("colours.txt"))
    for model, options in ((exported, ()), (own, own_options)):
        result = run("evaluate", model, "--data", tmp_path / "data", "--json", *options)
        assert result.exit_code == 0, result.stderr
        document = json.loads(result.stdout)
        # 1536 pixels; red 384 of 576, green 672 of 768, blue 288 of 384.
        assert document["pixel_accuracy"] == 1344 / 1536
        assert document["miou"] == pytest.approx((384 / 576 + 672 / 768 + 288 / 384) / 3)


def test_options_of_other_networks_are_refused(own: Path, exported: Path) -> None:
    asked = ("export", own, "--to", "tflite", "--task", "segmentation", "--preprocess", "0-1")
    for option, message in (
        (
            ("--fcn",),
            "--fcn makes a detector of a classifier; 'painter' is a segmenter, whose mask covers the picture already. "
            "Leave it out.",
        ),
        (("--top-k", 2), "--top-k is for classifiers; this network is no classifier."),
        (("--activation", "softmax"), "--activation softmax is for classifiers; 'painter' is no classifier."),
        (
            ("--iou-threshold", 0.5),
            "--iou-threshold is for detectors; 'painter' is none. Give --decoder, make one of a classifier with "
            "--fcn, or leave it out.",
        ),
    ):
        result = run(*asked, *option)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"Error: {message}\n"
    result = run("evaluate", exported, "--data", own.parent, "--task", "other")
    assert result.stderr == "Error: --task is for networks; what an artifact does was decided at its export.\n"


def test_recorded_masks_are_small_and_still_tell_a_shift(tmp_path: Path) -> None:
    image = keras.Input((256, 256, 3), name="image")
    x = layers.Conv2D(21, 3, padding="same", name="scores")(image)
    network = keras.Model(image, x, name="wide")
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 21)).astype(np.float32)
    network.get_layer("scores").set_weights([kernel, np.zeros(21, np.float32)])
    deployable = edgecv.deploy(network, task="segmentation", preprocess="0-1")
    path = edgecv.export(deployable, to="tflite", path=tmp_path / "wide.tflite").path
    document = load(path).metadata
    cases = document["verification"]["cases"]
    assert len(json.dumps(cases)) <= 16_000
    steps = [{name: stored["step"] for name, stored in case["outputs"].items()} for case in cases]
    # No multiple of 2, and for scores none of 3 or 7: all columns and all of the 21 classes are looked at.
    assert all(each["mask"] % 2 for each in steps)
    assert all(each["pre_argmax/logits"] % factor for each in steps for factor in (2, 3, 7))
    assert edgecv.verify(path).passed
