"""Faults planted at known layers, by rule, in files of both formats: bisecting must find the group that holds each."""

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.bisect import bisect
from edgecv.calibration import Calibration
from edgecv.deployable import Deployable
from edgecv.errors import OptionError
from edgecv.layer_errors import Layers
from edgecv.metadata import seal
from edgecv.photos import shipped_photos
from edgecv.report import Check, Report
from edgecv.verification import verify

Array = np.ndarray[Any, Any]
FORMATS = ("onnx", "tflite")
SIZES = {"resnet18": (64, 64), "googlenet": (64, 64), "ssd_tiny": (96, 96)}

# Network, layer with the fault, what is done to it in both formats.
FAULTS = [
    ("resnet18", "stem_conv", "filters swapped"),
    ("resnet18", "stage2_unit1_skip_conv", "scaled"),
    ("resnet18", "stage3_unit2_1_bn", "epsilon"),
    ("resnet18", "stage1_unit2_relu", "activation dropped"),
    ("googlenet", "conv2", "bias shifted"),
    ("googlenet", "inception_3b_2_1", "activation dropped"),
    ("googlenet", "inception_4d_3_2", "flipped"),
    ("googlenet", "predictions", "scaled"),
    ("ssd_tiny", "map1_depthwise", "scaled"),
    ("ssd_tiny", "map2_wide_bn", "epsilon"),
    ("ssd_tiny", "map3_narrow_relu6", "activation dropped"),
    ("ssd_tiny", "map0_class_conv", "bias shifted"),
]
# Every second one in each format; the slow test below plants more of them.
CASES = [(*fault, FORMATS[index % 2]) for index, fault in enumerate(FAULTS)]


@dataclasses.dataclass(frozen=True)
class Export:
    """A sound artifact and its original."""

    deployable: Deployable
    path: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Export]:
    """Export a network of random weights to a format, once."""
    folder = tmp_path_factory.mktemp("sound")
    originals: dict[str, Deployable] = {}
    made: dict[tuple[str, str], Export] = {}

    def export(name: str, form: str) -> Export:
        if name not in originals:
            network = edgecv.build(name, weights="random", input_size=SIZES[name])
            originals[name] = edgecv.deploy(network)
        if (name, form) not in made:
            path = folder / f"{name}.{form}"
            edgecv.export(originals[name], to=form, path=path, verify=False)
            made[name, form] = Export(originals[name], path)
        return made[name, form]

    return export


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two photos in files."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for name, pixels in list(shipped_photos().items())[:2]:
        paths.append(folder / f"{name}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.mark.parametrize(("name", "layer", "rule", "form"), CASES)
def test_a_fault_is_found_in_the_group_that_holds_it(
    name: str,
    layer: str,
    rule: str,
    form: str,
    exported: Callable[[str, str], Export],
    photos: list[Path],
    tmp_path: Path,
) -> None:
    sound = exported(name, form)
    path = plant(sound, layer, rule, tmp_path)
    found = bisect(path, sound.deployable, FAILED, images=photos)
    assert found.verdict == "layer", found.text
    assert found.found is not None
    assert layer in found.found.group
    assert found.found.before < 1e-4
    assert max(found.found.after, found.found.largest) > 1e-4


def test_an_artifact_that_passes_diverges_nowhere(exported: Callable[[str, str], Export], photos: list[Path]) -> None:
    sound = exported("ssd_tiny", "onnx")
    found = bisect(sound.path, sound.deployable, PASSED, images=photos)
    assert found.text == "Nothing diverges: the answers are the original's."
    assert (found.verdict, found.found, found.wrong) == ("same", None, frozenset())
    assert max(layer.after for layer in found.layers) < 1e-5
    names = {path for layer in found.layers for path in layer.group}
    assert names == {layer.name for layer in sound.deployable.network.layers} - {"image"}


def test_other_suppression_is_behind_the_network(exported: Callable[[str, str], Export], photos: list[Path]) -> None:
    sound = exported("ssd_tiny", "onnx")
    report = Report(checks=(dataclasses.replace(FAILED.checks[0], output="nms"),))
    found = bisect(sound.path, sound.deployable, report, images=photos)
    assert found.verdict == "head"
    assert found.text == ("All layers and boxes before suppression are right; suppression answers differently ('nms').")
    found = bisect(sound.path, sound.deployable, FAILED, images=photos)
    assert found.text == "All layers of the network are right; what follows it answers differently ('probabilities')."


@pytest.mark.parametrize("form", FORMATS)
def test_another_scaling_is_named(form: str, networks: Any, tmp_path: Path) -> None:
    path = tmp_path / f"faulty.{form}"
    edgecv.export(networks.deployable("separable", preprocess="torch"), to=form, path=path, verify=False)
    original = networks.deployable("separable")
    report = verify(path, against=original, go_on=True)
    assert [check.output for check in report.checks] == ["preprocess", "probabilities"]
    found = bisect(path, original, report)
    assert found.verdict == "scaling"
    assert found.text == (
        "The scaling in front of the network is another: layers are wrong from the first on, and the first is right "
        "with the pictures scaled as 'torch' (rgb)."
    )
    assert found.found is not None
    assert "stem" in found.found.group


def test_another_scaling_of_a_luminance_network_is_named(networks: Any, tmp_path: Path) -> None:
    path = tmp_path / "faulty.onnx"
    edgecv.export(networks.deployable("lenet5", preprocess="0-1"), to="onnx", path=path, verify=False)
    original = networks.deployable("lenet5", preprocess="tf")
    found = bisect(path, original, verify(path, against=original, go_on=True))
    assert found.verdict == "scaling"


def test_another_network_of_one_channel_differs_from_its_first_layer(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    edgecv.export(edgecv.deploy(edgecv.build("lenet5", weights="random")), to="onnx", path=path, verify=False)
    original = edgecv.deploy(edgecv.build("lenet5", weights="random", seed=1))
    found = bisect(path, original, verify(path, against=original, go_on=True))
    assert found.verdict == "layer"
    assert found.found is not None
    assert found.found.before == 0


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["lenet5", "residual", "multilabel", "two_outputs", "localiser", "segmenter"])
def test_every_layer_of_a_sound_artifact_is_right(
    name: str, form: str, networks: Any, photos: list[Path], tmp_path: Path
) -> None:
    deployable = networks.deployable(name)
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"sound.{form}", verify=False)
    found = bisect(artifact.path, deployable, PASSED, images=photos)
    assert found.wrong == frozenset()
    compared = {path for layer in found.layers for path in layer.group}
    no_tensor = (r"image", r"pad", r"flatten.*", r"up")  # ONNX loses the name of a resize
    left_out = [layer.name for layer in deployable.network.layers if layer.name not in compared]
    assert all(re.fullmatch("|".join(no_tensor), name) for name in left_out), left_out


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"batch": 3}, {"input_dtype": "float32"}, {"resize": "letterbox"}], ids=str
)
def test_however_pictures_go_in(
    form: str, options: dict[str, Any], networks: Any, photos: list[Path], tmp_path: Path
) -> None:
    if options.get("batch") == 0:
        options = {"batch": None}
    deployable = networks.deployable("residual", **options)
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"sound.{form}", verify=False)
    found = bisect(artifact.path, deployable, PASSED, images=photos)
    assert found.wrong == frozenset()
    assert [layer.layer for layer in found.layers][-1] == "head"


@pytest.mark.parametrize("form", FORMATS)
def test_nested_models_and_shared_layers_are_compared(form: str, photos: list[Path], tmp_path: Path) -> None:
    import keras
    from keras import layers

    inner_image = keras.Input((16, 16, 4))
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inner_image)
    inner = keras.Model(inner_image, layers.Add(name="add")([inner_image, y]), name="block")
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    shared = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    x = inner(layers.Concatenate(name="join")([shared(x), shared(layers.AveragePooling2D(1, name="same")(x))])[..., :4])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    deployable = edgecv.deploy(keras.Model(image, layers.Dense(3, name="head")(x), name="nested"), preprocess="tf")
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"sound.{form}", verify=False)
    found = bisect(artifact.path, deployable, PASSED, images=photos)
    assert found.wrong == frozenset()
    assert {"stem", "shared", "block/conv", "block/add", "pool", "head"} <= {layer.layer for layer in found.layers}


def test_the_values_of_both_sides_are_saved(networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable("separable")
    artifact = edgecv.export(sound, to="onnx", path=tmp_path / "sound.onnx", verify=False)
    path = plant(Export(sound, artifact.path), "depthwise", "scaled", tmp_path)
    found = bisect(path, sound, FAILED, tensors=tmp_path)
    assert found.saved == tmp_path / "depthwise_bn.npz"
    assert found.found is not None
    with np.load(found.saved) as saved:
        assert saved["original"].shape == saved["artifact"].shape == (len(saved["pictures"]), 12, 12, 8)
        off = np.sqrt(np.mean((saved["original"] - saved["artifact"]) ** 2, axis=(1, 2, 3)))
        relative = off / np.sqrt(np.mean(saved["original"] ** 2, axis=(1, 2, 3)))
        assert found.found.after == pytest.approx(relative.max(), rel=1e-3)
        assert found.worst == saved["pictures"][np.argmax(relative)]
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".npz"] == ["depthwise_bn.npz"]


def test_a_baseline_has_to_be_of_the_same_network_and_precision(networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable("separable")
    first = edgecv.export(sound, to="onnx", path=tmp_path / "first.onnx").path
    other = edgecv.export(sound, to="tflite", path=tmp_path / "other.tflite", verify=False).path
    found = bisect(first, sound, PASSED, baseline=first)
    assert min(found.limits.values()) == 1e-4
    problem = (
        f"The baseline {str(other)!r} is no sound version of {str(first)!r}: its format is 'tflite' instead of 'onnx'. "
        "Export the same network with the same options."
    )
    with pytest.raises(OptionError, match=f"^{re.escape(problem)}$"):
        bisect(first, sound, PASSED, baseline=other)


def test_another_artifact_takes_the_place_of_the_original(networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable("separable")
    paths = {form: edgecv.export(sound, to=form, path=tmp_path / f"a.{form}", verify=False).path for form in FORMATS}
    feeds = np.zeros((1, 24, 24, 3), np.uint8)
    feeds[0, 5:9, 3:20] = 200
    errors = Layers(sound, paths["tflite"], reference=paths["onnx"]).errors(feeds)
    # The head is left out: with its softmax in one file, without in the other.
    assert [error.layer for error in errors] == ["stem_relu", "depthwise_relu", "pool"]
    assert max(error.after for error in errors) < 1e-5
    assert [error.after for error in Layers(sound, paths["onnx"], reference=paths["onnx"]).errors(feeds)] == [0.0] * 6


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SIZES)
def test_faults_in_every_third_layer_are_found(
    name: str, form: str, exported: Callable[[str, str], Export], photos: list[Path], tmp_path: Path
) -> None:
    sound = exported(name, form)
    planted, missed = 0, []
    for layer, rule in list(faults(sound))[FORMATS.index(form) :: 3]:
        path = plant(sound, layer, rule, tmp_path)
        report = verify(path, against=sound.deployable, images=photos, go_on=True)
        if all(check.passed for check in report.checks if check.images):
            continue  # it does not matter
        planted += 1
        found = bisect(path, sound.deployable, report, images=photos)
        if found.found is None or layer not in found.found.group:
            missed.append((layer, rule, found.text))
    print(f"{name} {form}: {planted - len(missed)} of {planted} found")
    assert planted >= 8
    assert missed == []


@pytest.mark.parametrize(
    ("form", "layer", "rule"),
    [
        ("onnx", "stem", "filters reversed"),
        ("onnx", "depthwise", "halved"),
        ("tflite", "depthwise", "filters reversed"),
        ("tflite", "head", "biases reversed"),
    ],
)
def test_a_fault_in_int8_is_found_with_a_baseline(
    form: str, layer: str, rule: str, networks: Any, photos: list[Path], tmp_path: Path
) -> None:
    sound = Export(networks.deployable("separable"), tmp_path / f"sound.{form}")
    export_quantized(sound, photos)
    path = plant(sound, layer, rule, tmp_path)
    found = bisect(path, sound.deployable, FAILED, images=photos, baseline=sound.path)
    assert found.verdict == "layer"
    assert found.found is not None
    assert layer in found.found.group
    assert found.worst in map(str, photos)  # noise is left out: ranges are learnt from pictures
    grown = bisect(path, sound.deployable, FAILED, images=photos)
    assert (grown.verdict, grown.wrong, grown.limits) == ("growth", frozenset(), {})
    assert grown.text.endswith(
        "How much of it is due to 8 bits only a sound int8 artifact tells: give one with --baseline."
    )
    passes = bisect(sound.path, sound.deployable, PASSED, images=photos, baseline=sound.path)
    assert (passes.verdict, passes.wrong) == ("same", frozenset())
    no_better = bisect(path, sound.deployable, FAILED, images=photos, baseline=resealed(path))
    assert no_better.text == (
        "No layer's error is above 3 times the baseline's: either what follows the network answers differently "
        "('probabilities'), or the baseline is no better."
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SIZES)
def test_faults_of_int8_in_every_fourth_layer_are_found(
    name: str, form: str, photos: list[Path], tmp_path: Path
) -> None:
    network = edgecv.build(name, weights="random", input_size=SIZES[name])
    sound = Export(edgecv.deploy(network), tmp_path / f"sound.{form}")
    export_quantized(sound, photos)
    kinds = ("Conv2D", "DepthwiseConv2D", "Dense")
    names = [layer.name for layer in network.layers if type(layer).__name__ in kinds][FORMATS.index(form) :: 4]
    planted, missed = 0, []
    for index, layer in enumerate(names):
        rule = QUANTIZED_RULES[index % len(QUANTIZED_RULES)]
        path = plant(sound, layer, rule, tmp_path)
        report = verify(path, against=sound.deployable, images=photos, go_on=True)
        if all(check.passed for check in report.checks if check.images):
            continue  # it drowns in what 8 bits do
        planted += 1
        found = bisect(path, sound.deployable, report, images=photos, baseline=sound.path)
        if found.found is None or layer not in found.found.group:
            missed.append((layer, rule, found.text))
    print(f"{name} {form} int8: {planted - len(missed)} of {planted} found")
    assert planted >= 3
    assert missed == []


def resealed(path: Path) -> Path:
    """Give a file the digest of its bytes."""
    found = registry.runtime_for(path.suffix)
    assert found is not None
    seal(path, found[1].read_metadata(path), found[1])
    return path


def export_quantized(sound: Export, photos: list[Path]) -> None:
    """Export in int8, calibrated on few pictures: the answers need not be good."""
    exporter: Any = registry.load_exporter(sound.path.suffix[1:])
    quantizing = exporter(precision="int8", calibration=Calibration(paths=tuple(photos)))
    edgecv.export(sound.deployable, to=quantizing, name=sound.path.suffix[1:], path=sound.path, verify=False)


def faults(sound: Export) -> Iterator[tuple[str, str]]:
    """Yield layers and rules that go together, the rules in turn."""
    rules: dict[type, list[str]] = {}
    for layer in sound.deployable.network.layers:
        kind = type(layer).__name__
        if kind == "BatchNormalization":
            yield layer.name, "epsilon"
        elif kind in ("Conv2D", "DepthwiseConv2D"):
            own = rules.setdefault(type(layer), [])
            own[:] = own or ["scaled", "flipped", "filters swapped", *(["bias shifted"] if layer.use_bias else [])]
            yield layer.name, own.pop()
        elif kind == "ReLU":
            yield layer.name, "activation dropped"


# What `verify` says of an artifact whose outputs are others, without running it.
FAILED = Report(
    checks=(
        Check(
            runtime="any",
            device="cpu",
            provider="any",
            images=2,
            batch=1,
            output="probabilities",
            max_abs_diff=0.5,
            relative_diff=0.5,
            cosine=0.5,
            tolerance=1e-4,
            worst="noise:0",
            problem="relative difference 5.0e-01 is above 1e-04",
        ),
    )
)
PASSED = Report(checks=(dataclasses.replace(FAILED.checks[0], problem=""),))


def plant(sound: Export, layer: str, rule: str, folder: Path) -> Path:
    """Copy a sound artifact with a fault in one layer."""
    path = folder / f"faulty{sound.path.suffix}"
    edit = OnnxFile(sound.path) if path.suffix == ".onnx" else TfliteFile(sound.path)
    if rule == "activation dropped":
        edit.drop_activation(layer)
    else:
        kernel, bias = edit.weights(layer)
        for name, value in RULES[rule](sound.deployable.network.get_layer(layer), kernel, bias).items():
            assert not np.array_equal(value, edit.value(name)), "the fault is none"
            edit.set(name, value)
    edit.write(path)
    return path


# A kernel or bias: its name in the file, and its value, filters first.
Weight = tuple[str, Array]


def _scaled(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    return {kernel[0]: kernel[1] * np.float32(1.05)}


def _flipped(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    return {kernel[0]: kernel[1][:, ::-1, ::-1, ::-1]}


def _filters_swapped(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    order = [1, 0, *range(2, len(kernel[1]))]
    return {kernel[0]: kernel[1][order]}


def _bias_shifted(_: Any, __: Weight, bias: Weight | None) -> dict[str, Array]:
    assert bias is not None
    # Not all by the same: a softmax behind would not care.
    return {bias[0]: bias[1] + np.where(np.arange(len(bias[1])) % 2, 0.1, 0).astype(np.float32)}


def _epsilon(layer: Any, kernel: Weight, bias: Weight | None) -> dict[str, Array]:
    """Fold the layer's BatchNorm with another epsilon."""
    assert bias is not None
    variance, beta = (np.asarray(each.numpy()) for each in (layer.moving_variance, layer.beta))
    factor = np.sqrt((variance + layer.epsilon) / (variance + (1e-5 if layer.epsilon > 5e-4 else 1e-2)))
    shape = (-1, *[1] * (kernel[1].ndim - 1))
    return {kernel[0]: kernel[1] * factor.reshape(shape), bias[0]: beta + (bias[1] - beta) * factor}


def _filters_reversed(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    return {kernel[0]: kernel[1][::-1]}


def _biases_reversed(_: Any, __: Weight, bias: Weight | None) -> dict[str, Array]:
    assert bias is not None
    return {bias[0]: bias[1][::-1]}


def _halved(_: Any, kernel: Weight, __: Weight | None) -> dict[str, Array]:
    return {kernel[0]: kernel[1] // 2}


RULES: dict[str, Callable[[Any, Weight, Weight | None], dict[str, Array]]] = {
    "scaled": _scaled,
    "flipped": _flipped,
    "filters swapped": _filters_swapped,
    "bias shifted": _bias_shifted,
    "epsilon": _epsilon,
    "filters reversed": _filters_reversed,
    "biases reversed": _biases_reversed,
    "halved": _halved,
}
QUANTIZED_RULES = ("filters reversed", "biases reversed", "halved")


def holds(name: str, layer: str) -> bool:
    """Tell whether a node's or tensor's name is of a group with this layer."""
    return layer in re.split(r"[+/]", name)


class OnnxFile:
    """The weights of an ONNX file."""

    def __init__(self, path: Path) -> None:
        import onnx

        self._model = onnx.load(path)
        self._tensors = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._makers = {node.output[0]: node for node in self._model.graph.node}

    def weights(self, layer: str) -> tuple[Weight, Weight | None]:
        kinds = ("Conv", "Gemm", "MatMul")
        node = next(node for node in self._model.graph.node if node.op_type in kinds and holds(node.name, layer))
        # In int8 the integers are in front of a DequantizeLinear.
        names = [name if name in self._tensors else self._makers[name].input[0] for name in node.input[1:]]
        found = [(name, self.value(name)) for name in names]
        return found[0], found[1] if len(found) > 1 else None

    def value(self, name: str) -> Array:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self._tensors[name]))

    def set(self, name: str, value: Array) -> None:
        from onnx import numpy_helper

        same = np.ascontiguousarray(value, self.value(name).dtype)
        self._tensors[name].CopyFrom(numpy_helper.from_array(same, name))

    def drop_activation(self, layer: str) -> None:
        kinds = ("Relu", "Clip")
        node = next(node for node in self._model.graph.node if node.op_type in kinds and holds(node.name, layer))
        node.op_type = "Identity"
        del node.input[1:]

    def write(self, path: Path) -> None:
        import onnx

        onnx.save(self._model, path)


# TensorType of TFLite's schema.
_TYPES = {0: np.float32, 2: np.int32, 9: np.int8}


class TfliteFile:
    """The weights of a TFLite file."""

    def __init__(self, path: Path) -> None:
        from tensorflow.lite.tools import flatbuffer_utils

        found = registry.runtime_for(".tflite")
        assert found is not None
        self._runtime = found[1]
        self._document = self._runtime.read_metadata(path)
        self._model = flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))
        self._graph = self._model.subgraphs[0]
        self._tensors = {tensor.name.decode(): tensor for tensor in self._graph.tensors}

    def _operator(self, layer: str) -> Any:
        """Return the operator with weights whose output is of the layer's group."""
        names = list(self._tensors)
        for operator in self._graph.operators:
            if holds(names[operator.outputs[0]], layer) and hasattr(operator.builtinOptions, "fusedActivationFunction"):
                return operator
        raise AssertionError(f"no operator of {layer}")

    def weights(self, layer: str) -> tuple[Weight, Weight | None]:
        names = list(self._tensors)
        kernel, *bias = (names[index] for index in self._operator(layer).inputs[1:] if index >= 0)
        return (kernel, self.value(kernel)), (bias[0], self.value(bias[0])) if bias else None

    def value(self, name: str) -> Array:
        tensor = self._tensors[name]
        content = bytes(self._model.buffers[tensor.buffer].data)
        values = np.frombuffer(content, _TYPES[tensor.type]).reshape(tensor.shape)
        # A depthwise kernel is (1, height, width, filters).
        return np.moveaxis(values, -1, 0) if self._is_depthwise(name) else values

    def set(self, name: str, value: Array) -> None:
        values = np.moveaxis(value, 0, -1) if self._is_depthwise(name) else value
        content = np.ascontiguousarray(values, _TYPES[self._tensors[name].type]).tobytes()
        self._model.buffers[self._tensors[name].buffer].data = np.frombuffer(content, np.uint8)

    def drop_activation(self, layer: str) -> None:
        self._operator(layer).builtinOptions.fusedActivationFunction = 0

    def write(self, path: Path) -> None:
        from tensorflow.lite.tools import flatbuffer_utils

        path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(self._model))
        self._runtime.write_metadata(path, self._document)

    def _is_depthwise(self, name: str) -> bool:
        index = list(self._tensors).index(name)
        readers = [operator for operator in self._graph.operators if index in list(operator.inputs)[1:2]]
        return any(type(operator.builtinOptions).__name__ == "DepthwiseConv2DOptionsT" for operator in readers)
