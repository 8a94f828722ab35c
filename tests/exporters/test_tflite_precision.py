"""TFLite in float16 and int8: which tensors have which type, and that XNNPACK and LiteRT's own kernels answer right."""

import functools
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from edgecv_tflite import TfliteExporter
from keras import layers
from PIL import Image

import edgecv
from edgecv.calibration import Calibration
from edgecv.deployable import Deployable
from edgecv.errors import MissingExtraError, OptionError
from edgecv.runtimes.litert import LiteRtRuntime

FLOAT32, FLOAT16, INT32, UINT8, INT8 = 0, 1, 2, 3, 9  # TensorType of TFLite's schema
KERNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}  # and the dimension of their channels

Make = Callable[..., "Made"]


class Made:
    """An artifact, read back."""

    def __init__(self, deployable: Deployable, artifact: edgecv.Artifact) -> None:
        from ai_edge_litert.tools import flatbuffer_utils
        from edgecv_tflite.operators import kind

        self.deployable, self.artifact, self.path = deployable, artifact, artifact.path
        self.model = flatbuffer_utils.read_model(str(artifact.path))
        self.graph = self.model.subgraphs[0]
        self.tensors = {tensor.name.decode(): tensor for tensor in self.graph.tensors}
        self.operators = [(kind(self.model, operator), operator) for operator in self.graph.operators]

    def at(self, index: int) -> Any:
        return self.graph.tensors[index]

    def kinds(self) -> list[str]:
        return [what for what, _ in self.operators]

    def run(self, pictures: Any, *, delegate: bool = True, expose: tuple[str, ...] = ()) -> dict[str, Any]:
        runner = LiteRtRuntime().open(self.path, threads=1, expose=expose, delegate=delegate)
        return runner.run({"image": self.deployable.feed(pictures)})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    from sklearn.datasets import load_sample_images

    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{index}.png" for index in range(4)]
    china, flower = load_sample_images().images
    for path, pixels in zip(paths, (china, flower, china[::2, ::-1], flower[::-1]), strict=True):
        Image.fromarray(pixels).resize((96, 64)).save(path)
    return tuple(paths)


@pytest.fixture(scope="module")
def make(networks: Any, pictures: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Make:
    @functools.cache
    def made(name: str, precision: str, float_layers: tuple[str, ...] = (), **options: Any) -> Made:
        deployable = networks.deployable(name, **options)
        return write(deployable, precision, float_layers)

    def write(deployable: Deployable, precision: str, float_layers: tuple[str, ...] = ()) -> Made:
        calibration = Calibration(paths=pictures) if precision == "int8" else None
        exporter = TfliteExporter(precision=precision, calibration=calibration, float_layers=float_layers)
        path = tmp_path_factory.mktemp("artifact") / "network.tflite"
        return Made(deployable, exporter.export(deployable, path))

    def choose(network: Any, precision: str, float_layers: tuple[str, ...] = (), **options: Any) -> Made:
        if isinstance(network, Deployable):
            return write(network, precision, float_layers)
        return made(network, precision, float_layers, **options)

    return choose


def photos(deployable: Deployable, paths: tuple[Path, ...], count: int = 4) -> Any:
    from edgecv.pictures import fit_picture, read_picture

    size, channels, fit = deployable.input_size, deployable.channels, deployable.preprocess.fit
    return np.stack([fit_picture(read_picture(path).pixels, fit, size, channels) for path in paths[:count]])


def difference(output: str, a: Any, b: Any) -> float:
    """The relative difference as verification compares it: the largest, as a share of the largest value; of logits."""
    if output == "probabilities":  # the softmax taken off
        a, b = (np.log(each) - np.log(each).mean(axis=-1, keepdims=True) for each in (a, b))
    return float(np.abs(np.asarray(a, np.float64) - b).max() / np.abs(b).max())


def test_int8_needs_pictures() -> None:
    with pytest.raises(OptionError, match=r"^int8 needs real pictures to calibrate on\. Give --calibration DIR\.$"):
        TfliteExporter(precision="int8")


def test_int8_without_the_quantizer_is_one_line_before_the_work(
    pictures: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ai_edge_quantizer" else found(name))
    message = (
        "Exporting to TFLite in int8 needs ai_edge_quantizer, which is not installed. "
        "Run: pip install 'edgecv[quantize]'"
    )
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$"):
        TfliteExporter(precision="int8", calibration=Calibration(paths=pictures))


def test_the_picture_reaches_int8_kernels_as_it_is(make: Make) -> None:
    made = make("separable", "int8")
    image = made.at(made.graph.inputs[0])
    assert (image.name, image.type) == (b"image", UINT8)
    assert (list(image.quantization.scale), list(image.quantization.zeroPoint)) == ([1.0], [0])
    assert made.kinds()[0] == "QUANTIZE"
    assert "CAST" not in made.kinds()
    first = made.at(made.operators[0][1].outputs[0])
    assert (first.type, list(first.quantization.scale), list(first.quantization.zeroPoint)) == (INT8, [1.0], [-128])


@pytest.mark.parametrize("name", ["lenet5", "separable", "residual", "segmenter", "detector"])
def test_kernels_are_int8_by_channel_and_biases_int32(name: str, make: Make) -> None:
    made = make(name, "int8")
    assert made.artifact.details["float_operators"] == {}
    computing = [(what, operator) for what, operator in made.operators if what in KERNELS]
    assert computing
    for what, operator in computing:
        given, kernel, bias = (made.at(index) for index in operator.inputs)
        result = made.at(operator.outputs[0])
        assert (given.type, kernel.type, bias.type, result.type) == (INT8, INT8, INT32, INT8), result.name
        assert len(kernel.quantization.scale) == kernel.shape[KERNELS[what]]
        assert list(kernel.quantization.zeroPoint) == [0] * len(kernel.quantization.scale)


@pytest.mark.parametrize("name", ["separable", "multilabel", "two_outputs", "detector", "segmenter", "localiser"])
def test_outputs_and_what_follows_the_network_stay_float(name: str, make: Make) -> None:
    made = make(name, "int8")
    assert [made.at(index).name.decode() for index in made.graph.outputs] == list(made.deployable.output_names)
    assert {made.at(index).type for index in made.graph.outputs} <= {FLOAT32, INT32}
    for what, operator in made.operators:
        if what in ("SOFTMAX", "LOGISTIC"):
            assert made.at(operator.outputs[0]).type == FLOAT32
    results = {made.at(index).name.decode() for _, operator in made.operators for index in operator.outputs}
    scaling = [name for name in results if name.startswith("pipeline") and made.tensors[name].type == INT8]
    assert len(scaling) <= 2  # the picture and its scaling: behind the network nothing is int8
    for name in made.artifact.checkpoints:
        assert name in made.tensors


def test_boxes_and_scores_never_share_a_scale(make: Make) -> None:
    made = make("detector", "int8")
    heads = [name for name, tensor in made.tensors.items() if tensor.type == INT8 and re.search("boxes|scores", name)]
    scales = {
        word: {float(made.tensors[name].quantization.scale[0]) for name in heads if word in name and "/" not in name}
        for word in ("boxes", "scores")
    }
    assert all(scales.values())
    assert scales["boxes"].isdisjoint(scales["scores"])
    assert made.tensors["pre_nms/boxes"].type == made.tensors["pre_nms/scores"].type == FLOAT32


@pytest.mark.parametrize("delegate", [True, False], ids=["XNNPACK", "builtin kernels"])
@pytest.mark.parametrize("name", ["separable", "residual", "lenet5", "segmenter", "two_outputs", "detector"])
def test_int8_answers_like_the_original(name: str, delegate: bool, make: Make, pictures: tuple[Path, ...]) -> None:
    made = make(name, "int8")
    images = photos(made.deployable, pictures)
    original = made.deployable.run(images, checkpoints=True)
    checked = made.artifact.checkpoints or made.deployable.output_names
    for output in checked:
        answers = np.concatenate(
            [made.run(images[index : index + 1], delegate=delegate, expose=checked)[output] for index in range(4)]
        )
        assert answers.dtype == original[output].dtype
        assert difference(output, answers, original[output]) < 0.1
        assert answers.std(axis=0).max() > 0.1 * original[output].std(axis=0).max()


def test_means_of_each_channel_cost_little_more_than_half_a_level(make: Make, pictures: tuple[Path, ...]) -> None:
    made = make("residual", "int8")  # scaled by the means of ImageNet, one a channel
    assert made.kinds()[:2] == ["QUANTIZE", "SUB"]
    (scaled,) = (made.at(index).name.decode() for index in made.operators[1][1].outputs)
    images = photos(made.deployable, pictures, 1)
    values = made.run(images, expose=(scaled,), delegate=False)[scaled]
    assert values.dtype == np.float32  # exposed int8 tensors come back in what they stand for
    assert np.abs(values - (images - np.asarray(made.deployable.preprocess.mean))).max() < 0.65


def test_a_channel_of_nothing_but_bias_keeps_it(make: Make, pictures: tuple[Path, ...], networks: Any) -> None:
    deployable = networks.deployable("residual", activation="none")
    kernel, bias = deployable.network.get_layer("head").get_weights()
    kernel[:, 1], bias[1] = 0, 5.0  # without more room, 5 would be 6e11 steps of a zero kernel
    deployable.network.get_layer("head").set_weights([kernel, bias])
    made = make(deployable, "int8")
    for delegate in (True, False):
        (answer,) = made.run(photos(deployable, pictures, 1), delegate=delegate).values()
        assert answer.dtype == np.float32
        assert answer[0, 1] == pytest.approx(5.0, abs=0.2)


def test_a_layer_left_in_float_computes_in_float(make: Make) -> None:
    made = make("separable", "int8", float_layers=("depthwise", "stem"))
    types = {what: made.at(operator.inputs[1]).type for what, operator in made.operators if what in KERNELS}
    assert types == {"CONV_2D": FLOAT32, "DEPTHWISE_CONV_2D": FLOAT32, "FULLY_CONNECTED": INT8}
    assert made.kinds()[0] == "CAST"
    assert made.artifact.details["float_operators"] == {}


def test_an_unknown_layer_is_one_line(make: Make) -> None:
    message = "separable has no layer 'nothing' to leave in float. Give a layer's path in the network."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        make("separable", "int8", float_layers=("nothing",))


def _unusual() -> Deployable:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(4, 3, name="first")(image)
    x = layers.LeakyReLU(negative_slope=0.1, name="leaky")(x)
    x = layers.Conv2D(4, 3, name="second")(x)
    x = layers.Activation("elu", name="elu")(x)
    x = layers.Flatten(name="flatten")(layers.Conv2D(2, 3, name="third")(x))
    return edgecv.deploy(keras.Model(image, layers.Dense(3, name="head")(x), name="unusual"), preprocess="0-1")


def test_leaky_relu_is_int8_and_what_cannot_be_is_told(make: Make, pictures: tuple[Path, ...]) -> None:
    keras.utils.set_random_seed(0)
    deployable = _unusual()
    made = make(deployable, "int8")
    assert made.artifact.details["float_operators"] == {"ELU": ["elu"]}
    assert made.tensors["leaky"].type == INT8
    assert made.tensors["elu"].type in (FLOAT32, INT8)
    images = photos(deployable, pictures, 1)
    for delegate in (True, False):
        (answer,) = made.run(images, delegate=delegate).values()
        (original,) = deployable.run(images).values()
        assert difference("head", answer, original) < 0.1


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("separable", {"batch": None, "top_k": 2}),
        ("residual", {"input_dtype": "float32", "batch": 2}),
        ("separable", {"resize": "letterbox"}),
    ],
    ids=["dynamic", "float input", "letterbox"],
)
def test_every_kind_of_input_works(
    name: str, options: dict[str, Any], precision: str, make: Make, pictures: tuple[Path, ...]
) -> None:
    made = make(name, precision, **options)
    images = photos(made.deployable, pictures, 2)
    if "resize" in options:
        images = np.pad(images[:1], ((0, 0), (3, 4), (0, 0), (0, 0)))
    answers = made.run(images)
    original = made.deployable.run(images)
    assert {key: (value.shape, value.dtype) for key, value in answers.items()} == {
        key: (value.shape, value.dtype) for key, value in original.items()
    }


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_same_export_gives_the_same_bytes(precision: str, make: Make, networks: Any) -> None:
    first = make("separable", precision)
    again = make(networks.deployable("separable"), precision)
    assert first.path.read_bytes() == again.path.read_bytes()


@pytest.mark.parametrize("name", ["separable", "detector"])
def test_float16_halves_the_kernels_of_the_network_alone(name: str, make: Make, pictures: tuple[Path, ...]) -> None:
    made = make(name, "float16")
    kernels = [made.at(operator.inputs[0]) for what, operator in made.operators if what == "DEQUANTIZE"]
    assert kernels
    for kernel in kernels:
        assert (kernel.type, kernel.name.decode().endswith("/kernel")) == (FLOAT16, True)
    assert {name for name, tensor in made.tensors.items() if tensor.type == FLOAT16} == {
        kernel.name.decode() for kernel in kernels
    }
    images = photos(made.deployable, pictures, 1)
    checked = made.artifact.checkpoints or made.deployable.output_names
    original = made.deployable.run(images, checkpoints=True)
    for delegate in (True, False):
        answers = made.run(images, delegate=delegate, expose=checked)
        for output in checked:
            assert difference(output, answers[output], original[output]) < 5e-3


def test_float16_passes_its_proof(networks: Any, tmp_path: Path) -> None:
    artifact = edgecv.export(
        networks.deployable("separable"), to="tflite", path=tmp_path / "separable.tflite", precision="float16"
    )
    assert artifact.report is not None
    assert artifact.report.passed


def test_float16_leaves_a_constant_that_others_share(tmp_path: Path) -> None:
    """An LSTM begins with states of zeros: of the loop's inputs two are one constant, and one of them is halved."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.LSTM(40, name="rows")(layers.Reshape((8, 24))(image))
    network = keras.Model(image, layers.Dense(3, name="head")(x), name="recurrent")
    deployable = edgecv.deploy(network, preprocess="0-1")
    artifact = edgecv.export(deployable, to="tflite", path=tmp_path / "recurrent.tflite", precision="float16")
    assert artifact.report is not None
    assert artifact.report.passed


def test_a_quantised_network_is_refused(networks: Any, tmp_path: Path) -> None:
    deployable = networks.deployable("separable")
    deployable.network.get_layer("head").quantize("int8")
    message = (
        "'separable' is already quantised: its layer 'head' holds int8 weights. "
        "Give the network from before quantize()."
    )
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        TfliteExporter(precision="float16").export(deployable, tmp_path / "network.tflite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_efficientnet_lite0_keeps_its_answers_in_three_tenths_of_the_bytes(tmp_path: Path) -> None:
    from skimage import data
    from sklearn.datasets import load_sample_images

    # What the photos show at the size that they were taken in: blurred thumbnails have no sure answer to keep.
    photographs = [*load_sample_images().images, data.coffee(), data.chelsea(), data.astronaut()]
    paths = tuple(tmp_path / f"{index}.png" for index in range(len(photographs)))
    for path, pixels in zip(paths, photographs, strict=True):
        Image.fromarray(pixels).save(path)
    deployable = edgecv.deploy(edgecv.build("efficientnet_lite0"))
    made = {
        precision: Made(
            deployable,
            TfliteExporter(
                precision=precision, calibration=Calibration(paths=paths) if precision == "int8" else None
            ).export(deployable, tmp_path / f"{precision}.tflite"),
        )
        for precision in ("float32", "float16", "int8")
    }
    assert made["int8"].artifact.nbytes <= 0.30 * made["float32"].artifact.nbytes
    assert made["float16"].artifact.nbytes <= 0.52 * made["float32"].artifact.nbytes
    images = photos(deployable, paths, len(paths))
    expected = deployable.run(images)["probabilities"].argmax(axis=1).tolist()
    for precision in ("float16", "int8"):
        for delegate in (True, False):
            runs = [made[precision].run(image[None], delegate=delegate)["probabilities"] for image in images]
            assert [int(probabilities.argmax()) for probabilities in runs] == expected
