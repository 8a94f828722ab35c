"""The proof that verification is not vacuous: faults, planted by rule, that it must find.

Each fault is a Deployable that differs from the sound one in one thing. Whether it matters is measured in
Keras, by formulas of this file: a fault that moves an output by more than 10 × tolerance on a shipped photo
must fail verification, exported to either format.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.deployable import Deployable
from edgecv.localisation import Localisation
from edgecv.metadata import seal
from edgecv.network_outputs import network_output_names
from edgecv.nms import Nms
from edgecv.original import gather_pictures, original_answers
from edgecv.photos import shipped_photos
from edgecv.preprocess import STYLES
from edgecv.report import Report
from edgecv.verification import verify_runner

Array = np.ndarray[Any, Any]
Weights = list[Array]
# (what is wrong, the faulty Deployable)
Fault = tuple[str, Deployable]

TOLERANCE = 1e-4  # of the contract, float32
FORMATS = ("onnx", "tflite")
NAMES = ("lenet5", "separable", "residual", "multilabel", "two_outputs", "localiser", "segmenter", "detector")
# 2 formats x 8 networks x 12: at least 192 faults that matter.
FEWEST = 12


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "name", ["lenet5", "separable", "residual", "multilabel", "two_outputs", "localiser", "segmenter", "detector"]
)
def test_every_fault_that_matters_fails(name: str, form: str, networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable(name)
    judge = Judge(sound, form, tmp_path)
    report = judge.verified(sound)
    assert report.passed, report.summary()
    # Every other fault in this format; the parities are so that each rule meets both formats.
    faults = list(planted(sound))[FORMATS.index(form) :: 2]
    matter = [(wrong, faulty) for wrong, faulty in faults if judge.moved(faulty) > 10 * TOLERANCE]
    assert len(matter) >= FEWEST
    unseen = [wrong for wrong, faulty in matter if judge.verified(faulty).passed]
    assert unseen == []


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["separable", "multilabel"])
def test_a_fault_in_the_file_fails(name: str, form: str, networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable(name)
    artifact = edgecv.export(sound, to=form, path=tmp_path / f"sound.{form}")
    found = registry.runtime_for(artifact.path.suffix)
    assert found is not None
    runtime = found[1]
    document = runtime.read_metadata(artifact.path)
    pictures = gather_pictures(sound, None)
    before = runtime.open(artifact.path).run({"image": pictures.values[:1]})
    planted_faults = 0
    for wrong, content in damaged_constants(artifact.path):
        path = tmp_path / f"faulty.{form}"
        path.write_bytes(content)
        if form == "onnx":
            assert statement(edgecv.verify(path, against=sound)) == DAMAGED
            assert statement(edgecv.verify(path)) == DAMAGED
        seal(path, document, runtime)
        after = runtime.open(path).run({"image": pictures.values[:1]})
        # No logit is above 10 here: a probability that moves by 0.005 moved its logit by 10 x tolerance x 10.
        if np.max(np.abs(before["probabilities"] - after["probabilities"])) < 0.005:
            continue
        planted_faults += 1
        for report in (edgecv.verify(path, against=sound), edgecv.verify(path)):
            assert not report.passed, wrong
            assert "relative difference" in report.worst.problem, wrong
            assert report.worst.images > 0
    assert planted_faults >= 4


@pytest.mark.parametrize("form", FORMATS)
def test_a_flipped_bit_anywhere_fails(form: str, networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable("separable")
    path = edgecv.export(sound, to=form, path=tmp_path / f"sound.{form}").path
    whole = path.read_bytes()
    kernel = np.ascontiguousarray(sound.network.get_layer("head").bias.numpy()).tobytes()
    place = whole.index(kernel)
    path.write_bytes(whole[: place + 3] + bytes([whole[place + 3] ^ 1]) + whole[place + 4 :])
    assert statement(edgecv.verify(path, against=sound)) == DAMAGED
    assert statement(edgecv.verify(path)) == DAMAGED


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("subject", "options"),
    [
        ("labels", {"labels": ["a", "b", "d", "c"]}),
        ("labels", {"labels": []}),
        ("preprocess", {"preprocess": "torch"}),
        ("input", {"batch": 2}),
        ("outputs", {"activation": "none"}),
        ("outputs", {"top_k": 2}),
        ("postprocess", {"activation": "sigmoid"}),
    ],
    ids=["labels permuted", "labels lost", "other scaling", "other batch", "no softmax", "top-k", "sigmoid"],
)
def test_what_the_artifact_states_must_be_the_original_s(
    subject: str, options: dict[str, Any], form: str, networks: Any, tmp_path: Path
) -> None:
    network = networks.build("residual")
    sound: dict[str, Any] = {"preprocess": "caffe", "labels": ["a", "b", "c", "d"]}
    given = {**sound, **options}
    path = tmp_path / f"faulty.{form}"
    edgecv.export(edgecv.deploy(network, **given), to=form, path=path, verify=False)
    report = edgecv.verify(path, against=edgecv.deploy(network, **sound))
    assert statement(report) == (subject, f"the artifact's {subject} is not the original's")


DAMAGED = ("digest", "the file is damaged: its bytes disagree with its digest")


def statement(report: Report) -> tuple[str, str]:
    """Return the one check of a report that failed before anything ran."""
    assert not report.passed
    (check,) = report.checks
    return check.output, check.problem


class Judge:
    """Compares faulty Deployables of one format with the sound one: in Keras, and as verification does."""

    def __init__(self, sound: Deployable, form: str, folder: Path) -> None:
        self.sound, self.form, self.folder = sound, form, folder
        self.pictures = gather_pictures(sound, None)
        self.answers = original_answers(sound, self.pictures)
        self.photos = self.pictures.values[: len(shipped_photos())]
        self.logits = {name: self.to_logits(name, values) for name, values in self.run(sound).items()}

    def run(self, deployable: Deployable) -> dict[str, Array]:
        """Return the outputs on the shipped photos; of a detector, whose lists change at a breath, its anchors'."""
        given = deployable.run(self.photos, checkpoints=True)
        return {name: given[name] for name in self.sound.checkpoints or given}

    def moved(self, faulty: Deployable) -> float:
        """Return how far the outputs move on the shipped photos, relative to each photo's largest logit."""
        farthest = 0.0
        for name, values in self.run(faulty).items():
            before, after = self.logits[name], self.to_logits(name, values)
            axes = tuple(range(1, before.ndim))
            relative = np.max(np.abs(after - before), axis=axes) / np.max(np.abs(before), axis=axes)
            farthest = max(farthest, float(np.max(np.nan_to_num(relative, nan=np.inf))))
        return farthest

    def to_logits(self, name: str, values: Array) -> Array:
        """Undo softmax or sigmoid; what is no probability at all is NaN."""
        values = values.astype(np.float64)
        if name not in ("probabilities", "objectness", "pre_nms/scores"):
            return values
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.sound.activation == "sigmoid" or name != "probabilities":
                return np.asarray(np.log(values / (1 - values)))
            logits = np.log(values)
            return np.asarray(logits - logits.mean(axis=1, keepdims=True))

    def verified(self, deployable: Deployable) -> Report:
        """Export it and verify it against the sound one."""
        path = self.folder / f"artifact.{self.form}"
        artifact = edgecv.export(deployable, to=self.form, path=path, verify=False)
        found = registry.runtime_for(path.suffix)
        assert found is not None
        runner = found[1].open(path, expose=artifact.checkpoints)
        return verify_runner(runner, found[0], self.sound, self.pictures, self.answers, TOLERANCE)


def planted(sound: Deployable) -> Iterator[Fault]:
    """Yield every fault that the rules of this file make from a sound Deployable."""
    yield from in_weights(sound)
    yield from in_normalization(sound)
    yield from in_scaling(sound)
    yield from in_structure(sound)
    yield from in_decoder(sound)


def in_decoder(sound: Deployable) -> Iterator[Fault]:
    if sound.detection is None:
        return
    decoder: Any = sound.detection.decoder
    others: dict[str, dict[str, Any]] = {
        "variances of 0.11": {"variances": (0.11, 0.11, 0.22, 0.22)},
        "x and y swapped": {"order": "xywh"},
        "anchors 5 % larger": {"scales": tuple(1.05 * scale for scale in decoder.scales)},
        "layers of anchors swapped": {"scales": decoder.scales[::-1]},
        "aspect ratios reversed": {"aspect_ratios": decoder.aspect_ratios[::-1]},
        "no sigmoid": {"activation": "none"},
        "softmax for sigmoid": {"activation": "softmax"},
    }
    for wrong, change in others.items():
        detection = dataclasses.replace(sound.detection, decoder=dataclasses.replace(decoder, **change))
        yield wrong, dataclasses.replace(sound, detection=detection)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherBox(Localisation):
    """A localisation whose box numbers are changed before they are read, and that tells nobody."""

    change: Callable[[Any, Any], Any]

    def corners(self, box: Any, ops: Any) -> Any:
        return super().corners(self.change(box, ops), ops)


LOCALISATION_FAULTS: dict[str, Callable[[Any, Any], Any]] = {
    "width and height swapped": lambda box, ops: ops.take(box, [0, 1, 3, 2], axis=-1),
    "x and y swapped": lambda box, ops: ops.take(box, [1, 0, 2, 3], axis=-1),
    "sizes before the centre": lambda box, ops: ops.take(box, [2, 3, 0, 1], axis=-1),
    "square roots taken for sides": lambda box, ops: ops.concatenate([box[:, :2], ops.sqrt(box[:, 2:])], axis=-1),
    "centre taken for the corner": lambda box, ops: ops.concatenate(
        [box[:, :2] + box[:, 2:] ** 2 / 2, box[:, 2:]], axis=-1
    ),
    "centre off by half a pixel": lambda box, ops: box + ops.convert_to_tensor([0.5 / 40, 0.5 / 32, 0, 0], "float32"),
    "sides 1 % too long": lambda box, ops: box * ops.convert_to_tensor([1, 1, 1.01**0.5, 1.01**0.5], "float32"),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("wrong", LOCALISATION_FAULTS)
def test_a_fault_in_the_box_fails(wrong: str, form: str, networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable("localiser")
    judge = Judge(sound, form, tmp_path)
    known = sound.localisation
    other = OtherBox(sqrt_sizes=known.sqrt_sizes, outputs=known.outputs, change=LOCALISATION_FAULTS[wrong])
    faulty = dataclasses.replace(sound, localisation=other)
    assert judge.moved(faulty) > 10 * TOLERANCE
    report = judge.verified(faulty)
    assert {check.output for check in report.checks if not check.passed} == {"box"}
    assert report.task["box_match"] < 1


SUPPRESSION_FAULTS: dict[str, dict[str, Any]] = {
    "score threshold off by a hundredth": {"score_threshold": 0.11},
    "IoU threshold lower": {"iou_threshold": 0.3},
    "IoU threshold higher": {"iou_threshold": 0.8},
    "fewer detections": {"max_detections": 3},
    "fewer candidates": {"pre_nms_top_k": 6},
    "best class only": {"multi_label": False},
    "class-agnostic": {"class_agnostic": True},
    "soft": {"soft_sigma": 0.5},
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("wrong", SUPPRESSION_FAULTS)
def test_a_fault_in_suppression_fails(wrong: str, form: str, networks: Any, tmp_path: Path) -> None:
    # A low threshold, so that each setting decides about some box on some photo.
    sound = networks.deployable("detector", nms=Nms(score_threshold=0.1, iou_threshold=0.4, max_detections=60))
    judge = Judge(sound, form, tmp_path)
    changed = dataclasses.replace(sound.detection.nms, **SUPPRESSION_FAULTS[wrong])
    faulty = dataclasses.replace(sound, detection=dataclasses.replace(sound.detection, nms=changed))
    before, after = sound.run(judge.photos), faulty.run(judge.photos)
    differs = before["scores"].shape != after["scores"].shape or np.any(before["scores"] != after["scores"])
    assert differs, "the fault shows on no photo: the test's network or thresholds must change"
    report = judge.verified(faulty)
    assert not report.passed
    assert {check.output for check in report.checks if not check.passed} <= {"nms", "detections"}


def in_weights(sound: Deployable) -> Iterator[Fault]:
    for layer in sound.network.layers:
        if not hasattr(layer, "kernel") and not hasattr(layer, "depthwise_kernel"):
            continue
        # Filters of a depthwise kernel, (height, width, channels, 1); of any other they are last.
        axis = 2 if hasattr(layer, "depthwise_kernel") or hasattr(layer, "depth_multiplier") else -1
        one_filter = layer.kernel.shape[axis] == 1 if hasattr(layer, "kernel") else False
        for wrong, change in KERNEL_FAULTS.items():
            if one_filter and change in (zeroed, swapped):
                continue
            yield f"{layer.name}: {wrong}", with_weights(sound, layer.name, first(change, axis))
        if type(layer).__name__ == "Dense":
            yield f"{layer.name}: rows permuted", with_weights(sound, layer.name, first(rolled, 0))
            yield (
                f"{layer.name}: classes permuted",
                with_weights(sound, layer.name, lambda w: [rolled(v, -1) for v in w]),
            )
        if layer.use_bias:
            yield f"{layer.name}: bias dropped", with_weights(sound, layer.name, lambda w: [*w[:-1], 0 * w[-1]])


def in_normalization(sound: Deployable) -> Iterator[Fault]:
    for layer in sound.network.layers:
        if type(layer).__name__ != "BatchNormalization":
            continue
        for wrong, change in NORMALIZATION_FAULTS.items():
            yield f"{layer.name}: {wrong}", with_weights(sound, layer.name, change)
        epsilon = 1e-5 if layer.epsilon == 1e-3 else 1e-3
        yield f"{layer.name}: epsilon {epsilon}", with_config(sound, layer.name, epsilon=epsilon)


def in_scaling(sound: Deployable) -> Iterator[Fault]:
    scaling = sound.preprocess
    others = {f"scaled as {name}": style for name, style in STYLES.items() if name != scaling.style}
    others["mean off by 2"] = dataclasses.replace(scaling, mean=tuple(value + 2 for value in scaling.mean))
    others["scale off by 1 %"] = dataclasses.replace(scaling, scale=tuple(value * 1.01 for value in scaling.scale))
    if sound.channels == 3:
        order: Any = "bgr" if scaling.order == "rgb" else "rgb"
        others["channels reversed"] = dataclasses.replace(scaling, order=order)
    for wrong, other in others.items():
        if sound.channels == 3 or len(other.mean) == len(other.scale) == 1:
            yield wrong, dataclasses.replace(sound, preprocess=other)


def in_structure(sound: Deployable) -> Iterator[Fault]:
    import keras

    for layer in sound.network.layers:
        kind = type(layer).__name__
        if "Conv2D" in kind and layer.padding == "same" and layer.kernel_size[0] > 1:
            yield f"{layer.name}: padded on the other side", with_layer(sound, layer.name, padded_otherwise)
        if kind == "ZeroPadding2D":
            mirrored = tuple(side[::-1] for side in layer.padding)
            yield f"{layer.name}: padded on the other side", with_config(sound, layer.name, padding=mirrored)
        if kind == "ReLU":
            yield f"{layer.name}: leaky", with_config(sound, layer.name, negative_slope=0.01)
            yield f"{layer.name}: cut at 1", with_config(sound, layer.name, max_value=1.0)
        activation = getattr(getattr(layer, "activation", None), "__name__", None)
        for other in OTHER_ACTIVATIONS.get(str(activation), ()):
            yield f"{layer.name}: {other} for {activation}", with_config(sound, layer.name, activation=other)
        if activation in ("softmax", "sigmoid"):
            named = dict(zip(network_output_names(sound.network), sound.network.outputs, strict=True))
            again = {n: layer.activation(x) if x._keras_history.operation is layer else x for n, x in named.items()}
            doubled = keras.Model(sound.network.inputs, again, name=f"{sound.network.name}_doubled")
            yield f"{layer.name}: {activation} doubled", dataclasses.replace(sound, network=doubled)
    if sound.added_activation != "none":
        yield "no softmax", dataclasses.replace(sound, added_activation="none")
        yield "sigmoid for softmax", dataclasses.replace(sound, added_activation="sigmoid")


def scaled(kernel: Array, axis: int) -> Array:
    kernel = np.moveaxis(kernel.copy(), axis, 0)
    kernel[0] *= 1.05
    return np.moveaxis(kernel, 0, axis)


def zeroed(kernel: Array, axis: int) -> Array:
    kernel = np.moveaxis(kernel.copy(), axis, 0)
    kernel[1] = 0
    return np.moveaxis(kernel, 0, axis)


def swapped(kernel: Array, axis: int) -> Array:
    kernel = np.moveaxis(kernel.copy(), axis, 0)
    kernel[[0, 1]] = kernel[[1, 0]]
    return np.moveaxis(kernel, 0, axis)


def rolled(values: Array, axis: int) -> Array:
    return np.roll(values, 1, axis=axis)


def negated(kernel: Array, axis: int) -> Array:
    del axis
    return -kernel


KERNEL_FAULTS: dict[str, Callable[[Array, int], Array]] = {
    "a filter scaled by 1.05": scaled,
    "sign flipped": negated,
    "a filter zeroed": zeroed,
    "two filters swapped": swapped,
}
# Keras' order: gamma, beta, moving mean, moving variance.
NORMALIZATION_FAULTS: dict[str, Callable[[Weights], Weights]] = {
    "gamma and beta swapped": lambda w: [w[1], w[0], w[2], w[3]],
    "mean and variance swapped": lambda w: [w[0], w[1], w[3], np.abs(w[2])],
    "gamma dropped": lambda w: [np.ones_like(w[0]), *w[1:]],
    "beta dropped": lambda w: [w[0], 0 * w[1], *w[2:]],
    "mean dropped": lambda w: [*w[:2], 0 * w[2], w[3]],
    "variance dropped": lambda w: [*w[:3], np.ones_like(w[3])],
}
OTHER_ACTIVATIONS = {
    "relu": ("relu6", "leaky_relu"),
    "tanh": ("hard_tanh",),
    "softmax": ("linear", "sigmoid"),
    "sigmoid": ("hard_sigmoid", "linear"),
}


def first(change: Callable[[Array, int], Array], axis: int) -> Callable[[Weights], Weights]:
    return lambda weights: [change(weights[0], axis), *weights[1:]]


def padded_otherwise(layer: Any) -> Any:
    """Return a VALID layer behind a padding of the same sum as SAME's, but a pixel further to the top and left."""
    import keras

    total = [max(kernel - stride, 0) for kernel, stride in zip(layer.kernel_size, layer.strides, strict=True)]
    sides = [(side // 2 + 1, side - side // 2 - 1) for side in total]
    config = {**layer.get_config(), "padding": "valid"}
    return keras.Sequential([keras.layers.ZeroPadding2D(sides), type(layer).from_config(config)], name=layer.name)


def with_weights(sound: Deployable, name: str, change: Callable[[Weights], Weights]) -> Deployable:
    network = copied(sound.network)
    layer = network.get_layer(name)
    layer.set_weights(change(layer.get_weights()))
    return dataclasses.replace(sound, network=network)


def with_config(sound: Deployable, name: str, **settings: Any) -> Deployable:
    return with_layer(sound, name, lambda layer: type(layer).from_config({**layer.get_config(), **settings}))


def with_layer(sound: Deployable, name: str, replacement: Callable[[Any], Any]) -> Deployable:
    return dataclasses.replace(sound, network=copied(sound.network, name, replacement))


def copied(network: Any, name: str = "", replacement: Callable[[Any], Any] | None = None) -> Any:
    """Copy a network, one layer of it replaced by one with the same weights."""
    import keras

    def clone(layer: Any) -> Any:
        if replacement is not None and layer.name == name:
            return replacement(layer)
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=clone)
    for layer in network.layers:
        copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def damaged_constants(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, the file's bytes with that constant 5 % larger) for every float constant of a file."""
    if path.suffix == ".onnx":
        yield from _damaged_initializers(path)
    else:
        yield from _damaged_buffers(path)


def _damaged_initializers(path: Path) -> Iterator[tuple[str, bytes]]:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32:
            sound = tensor.SerializeToString()
            tensor.CopyFrom(numpy_helper.from_array(value * np.float32(1.05), tensor.name))
            yield tensor.name, model.SerializeToString()
            tensor.ParseFromString(sound)


def _damaged_buffers(path: Path) -> Iterator[tuple[str, bytes]]:
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))
    float32 = 0  # TensorType.FLOAT32
    for tensor in model.subgraphs[0].tensors:
        buffer = model.buffers[tensor.buffer]
        if tensor.type == float32 and buffer.data is not None and len(buffer.data):
            sound = buffer.data
            values = np.frombuffer(bytes(sound), np.float32) * np.float32(1.05)
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            yield tensor.name.decode(), bytes(flatbuffer_utils.convert_object_to_bytearray(model))
            buffer.data = sound
