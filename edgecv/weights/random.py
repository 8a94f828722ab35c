"""Random weights that keep a network alive: seeded, calibrated, different answers for different pictures.

A freshly initialised deep network answers every picture alike, so that nothing can be verified on it.
Here the kernels are He-normal, the statistics of every BatchNorm are those of one batch of real photos
(and one of noise), and the last layers are scaled so that their outputs spread over those pictures.
A detector's class scores are shifted besides, so that a few boxes survive suppression on every photo.

Reference: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, https://arxiv.org/abs/1502.01852.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from PIL import Image

from edgecv.architectures.bilinear import BilinearKernel
from edgecv.architectures.custom_layers import EuclideanRBF
from edgecv.decoders import Decoder, Ssd, YoloV3
from edgecv.errors import OptionError
from edgecv.greedy import greedy
from edgecv.layer_graph import call_sparingly
from edgecv.network_outputs import decoder_order
from edgecv.nms import Nms
from edgecv.photos import shipped_photos
from edgecv.preprocess import Preprocess
from edgecv.replacing import replaced

__all__ = ["randomize"]

Array = np.ndarray[Any, np.dtype[np.float32]]

_SPREAD = 2.0  # standard deviation of the logits over the calibration pictures
# Of a detector's outputs: only the far end of thousands of anchors counts there, and rounding errors with it.
_DETECTOR_SPREAD = 1.0
# Of YOLOv3's log sizes. Were it larger, most boxes would be specks or cover the picture; and as a size is an
# exponential, its rounding error would be that of the logits, many times over.
_SIZE_SPREAD = 0.5
_UNKNOWN_SIDE = 128  # pixels, for inputs without a fixed size
# A channel that is all but constant over the photos is not blown up: its variance counts as this
# fraction of the layer's mean variance.
_VARIANCE_FLOOR = 0.01
_EPSILON = 1e-3  # added to it, as BatchNorm does
# No constants here, so that a lost bias, gamma or beta shows. A beta above 0 keeps most of a ReLU's input:
# at 0 the rounding error grows by a fifth a layer (the variance's derivative of the rectified normal is
# 0.5 / (0.5 - 1 / 2π) = 1.47), and 50 layers deep nothing could be compared at 1e-4.
_BIAS = 0.1
_BETA = (0.0, 1.0)
# Without sums that lead around the layers even that error grows: by 7 % a layer, to 9e-5 behind the 75 of Inception-v4.
_DEEP, _DEEP_BETA = 128, (0.5, 1.5)
_GAMMA = (0.75, 1.25)
_LINEAR_LIKE = ("linear", "softmax", "sigmoid", "tanh", "scaled_tanh")
# How much the taps of a transposed convolution differ. They meet the same values, which are mostly alike behind a ReLU:
# were they drawn one by one, all pictures would show their pattern and little else.
_TAPS = 0.1
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
# How many boxes shall survive on a photo at the usual thresholds, by which factor there may be more or fewer,
# and how it is searched for.
_SURVIVORS = 16
_NEAR = 1.5
_STEP = 0.3
_ROUNDS = 60


def randomize(model: keras.Model, preprocess: Preprocess, seed: int = 0, *, decoder: Decoder | None = None) -> None:
    """Put seeded random weights into ``model``, in place.

    The kernels depend on ``seed`` and on each variable's path only, not on the order of layers or the
    backend; the calibrated values depend on the machine's arithmetic in their last bits (how far a detector's
    scores are shifted, which is found by counting boxes, may depend on it more).
    BatchNorm statistics and the scale of the outputs are calibrated where the network takes one picture,
    ``(batch, height, width, channels)``; otherwise they keep their neutral values.

    Args:
        model: A functional or Sequential model, nested ones included.
        preprocess: The scaling from 0…255 RGB to the network's input.
        seed: Any integer.
        decoder: What the outputs of a detector mean. Its convolutions with a bias are normalised as if they
            had a BatchNorm, and its class scores shifted until about 16 boxes survive on a photo.
    """
    beta = _DEEP_BETA if _is_deep(model) else _BETA
    _draw(model, seed, beta)
    pictures = _calibration_batch(model, preprocess)
    if pictures is None:
        return
    with _recorded_heads(model) as seen:
        settled = _calibrate_normalization(model, pictures)
    if decoder is not None:
        _calibrate_folded(model, pictures, seed)
    if decoder is not None or not settled:
        with _recorded_heads(model) as seen:
            call_sparingly(model, pictures)
    _calibrate_outputs(seen, _SPREAD if decoder is None else _DETECTOR_SPREAD)
    if decoder is not None:
        _calibrate_sizes(model, decoder)
        _calibrate_scores(model, decoder, pictures[:-1])  # without the noise


def _layers(model: keras.Model) -> list[Any]:
    # Keras has no public walk that also enters wrappers such as TimeDistributed.
    return list(model._flatten_layers(include_self=False, recursive=True))


def _is_deep(model: keras.Model) -> bool:
    """Tell whether a network has more than 128 BatchNorms and no sum."""
    kinds = [type(layer) for layer in _layers(model)]
    return kinds.count(layers.BatchNormalization) > _DEEP and layers.Add not in kinds


def _draw(model: keras.Model, seed: int, beta: tuple[float, float]) -> None:
    """Set all variables that have no neutral value by their names; a variable's values hang on its path alone."""
    held = [
        (layer, variable)
        for layer in _layers(model)
        for variable in layer._trainable_variables + layer._non_trainable_variables
    ]
    # Drawing releases Python's lock, and a deep network has a second of it.
    with ThreadPoolExecutor() as pool:
        drawn = pool.map(lambda each: _drawn(each[0], each[1], seed, beta), held)
        for (_, variable), values in zip(held, drawn, strict=True):
            if values is not None:
                variable.assign(values)


def _drawn(layer: Any, variable: Any, seed: int, beta: tuple[float, float]) -> Any | None:
    """Return the values of a variable that the layer itself holds; None where it keeps those that it has."""
    shape = tuple(variable.shape)
    generator = _generator(seed, variable.path)
    match variable.name:
        case "moving_mean":
            return np.zeros(shape, "float32")
        case "moving_variance":
            return np.ones(shape, "float32")
        case "bias":
            return generator.uniform(-_BIAS, _BIAS, shape).astype("float32")
        case "beta":
            return generator.uniform(*beta, shape).astype("float32")
        case "gamma":
            return generator.uniform(*_GAMMA, shape).astype("float32")
        case "kernel" if _interpolates(layer):
            return layer.kernel_initializer(shape)
        case name if name.endswith("kernel") and len(shape) > 1:
            values = generator.standard_normal(shape, dtype=np.float32)
            if isinstance(layer, layers.Conv2DTranspose):
                shared = generator.standard_normal(shape[-2:], dtype=np.float32)
                values = np.float32(math.sqrt(1 - _TAPS**2)) * shared + np.float32(_TAPS) * values
            values *= np.float32(_deviation(layer, name, shape))
            return values
        case _:  # what a layer knows better: statistics of Normalization, slopes of PReLU
            return None


def _interpolates(layer: Any) -> bool:
    return isinstance(getattr(layer, "kernel_initializer", None), BilinearKernel)


def _deviation(layer: Any, name: str, shape: tuple[int, ...]) -> float:
    """Return the standard deviation that keeps the signal's variance (He et al., 2015, section 2.2)."""
    per_channel = name == "depthwise_kernel" or isinstance(layer, _DEPTHWISE)
    if isinstance(layer, layers.Conv2DTranspose):  # kernels of (height, width, out, in)
        inputs = shape[-1] * math.prod(shape[:-2]) / math.prod(layer.strides)
    else:
        inputs = math.prod(shape[:-2]) if per_channel else getattr(layer, "fan_in", math.prod(shape[:-1]))
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    # A separate ReLU usually follows a linear layer; where none does, BatchNorm or the last scaling mends it.
    gain = 1.0 if activation in _LINEAR_LIKE[1:] else 2.0
    return math.sqrt(gain / max(inputs, 1))


def _generator(seed: int, path: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{path}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def _calibration_batch(model: keras.Model, preprocess: Preprocess) -> Any | None:
    """Return the shipped photos and one of noise as the network's input; None where it takes no single picture."""
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        return None
    _, height, width, channels = model.inputs[0].shape
    size = (width or _UNKNOWN_SIDE, height or _UNKNOWN_SIDE)
    pictures = [_picture(photo, size, channels or 3) for photo in shipped_photos().values()]
    # Photos are smooth: calibrated on them alone, EfficientNet-B0 gives logits of 700 on noise.
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, pictures[0].shape)
    batch = np.stack([*pictures, noise.astype(np.float32)])
    with contextlib.suppress(OptionError):  # a scaling of three channels for another number: pixels as they are
        preprocess.check_channels(batch.shape[-1])
        batch = preprocess.apply(batch, np)
    return ops.convert_to_tensor(batch.astype("float32"))


def _picture(photo: Any, size: tuple[int, int], channels: int) -> Array:
    picture = Image.fromarray(photo)
    if channels == 1:
        picture = picture.convert("L")
    pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    repeats = math.ceil(channels / pixels.shape[-1])
    return np.tile(pixels, (1, 1, repeats))[..., :channels]


def _calibrate_normalization(model: keras.Model, pictures: Any) -> bool:
    """Give every BatchNorm the pictures' statistics; return whether this run answered as the network now does."""
    normalizations = [layer for layer in _layers(model) if isinstance(layer, layers.BatchNormalization)]
    if not normalizations:
        return False
    with contextlib.ExitStack() as stack:
        for layer in normalizations:
            stack.enter_context(replaced(layer, "momentum", 0.0))
        for layer in _layers(model):
            if isinstance(getattr(layer, "rate", None), float):  # Dropout in all its forms
                stack.enter_context(replaced(layer, "rate", 0.0))
        call_sparingly(model, pictures, training=True)
    settled = True
    for layer in normalizations:
        variance = ops.convert_to_numpy(layer.moving_variance)
        least = _VARIANCE_FLOOR * variance.mean()
        if variance.min() < least:
            layer.moving_variance.assign(np.maximum(variance, least))
            settled = False
    return settled


def _calibrate_folded(model: keras.Model, pictures: Any, seed: int) -> None:
    """Do for convolutions with a bias, whose BatchNorm was folded into them, what a BatchNorm would do."""
    heads = [head for output in model.outputs for head in _heads(output)]
    with contextlib.ExitStack() as stack:
        for layer in _layers(model):
            convolution = isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)
            if convolution and layer.use_bias and layer.activation is keras.activations.linear and layer not in heads:
                stack.enter_context(_normalized(layer, _generator(seed, f"{layer.path}/folded")))
        call_sparingly(model, pictures)


@contextlib.contextmanager
def _normalized(layer: Any, generator: np.random.Generator) -> Iterator[None]:
    """Normalise a convolution's output on its next call, in its own weights."""
    original = layer.call

    def call(*args: Any, **kwargs: Any) -> Any:
        values = ops.convert_to_numpy(original(*args, **kwargs))
        flat = values.reshape(-1, values.shape[-1]).astype("float64")
        variance = np.maximum(flat.var(axis=0), _VARIANCE_FLOOR * flat.var(axis=0).mean())
        factor = generator.uniform(*_GAMMA, variance.shape) / np.sqrt(variance + _EPSILON)
        shift = generator.uniform(*_BETA, variance.shape) - flat.mean(axis=0) * factor
        kernel, bias = (ops.convert_to_numpy(variable) for variable in (layer.kernel, layer.bias))
        # A depthwise kernel is (height, width, channels, multiplier).
        channels = kernel.shape[-2:] if isinstance(layer, _DEPTHWISE) else kernel.shape[-1:]
        layer.kernel.assign((kernel * factor.reshape(channels)).astype("float32"))
        layer.bias.assign((bias * factor + shift).astype("float32"))
        return ops.convert_to_tensor((values * factor + shift).astype("float32"))

    with replaced(layer, "call", call):
        yield


@contextlib.contextmanager
def _recorded_heads(model: keras.Model) -> Iterator[list[tuple[Any, list[Any]]]]:
    """Collect what each last layer gives before its activation, call by call."""
    heads = {id(head): head for output in model.outputs for head in _heads(output)}.values()
    with contextlib.ExitStack() as stack:
        yield [(head, stack.enter_context(_recorded(head))) for head in heads]


def _calibrate_outputs(seen: Sequence[tuple[Any, list[Any]]], spread: float) -> None:
    """Scale each last layer so that its values, before activation, have mean 0 and this deviation."""
    for head, values in seen:
        if values:
            _rescale(head, ops.convert_to_numpy(values[-1]), spread / _gain_behind(head))


def _gain_behind(head: Any) -> float:
    """Return by how much the outputs deviate where each value of the head deviates by 1; 1 without distances behind.

    What differs between the units of an RBF is 2·x·c: independent x of deviation 1 move it by twice the length of c,
    less what all centres share, which a softmax does not see.
    """
    behind = [node.operation for node in head._outbound_nodes if isinstance(node.operation, EuclideanRBF)]
    if not behind:
        return 1.0
    centres = ops.convert_to_numpy(behind[0].centres)
    own = centres - centres.mean(axis=1, keepdims=True)
    length = float(np.sqrt(np.square(own).sum(axis=0).mean()))
    slope = 1.7159 * 2 / 3 if getattr(head.activation, "__name__", "") == "scaled_tanh" else 1.0
    return 2 * slope * length or 1.0


def _heads(tensor: Any) -> list[Any]:
    """Return the last dense or convolutional layers before an output; none where other layers intervene."""
    while True:
        layer, node, index = tensor._keras_history
        if isinstance(layer, keras.Model):
            tensor = layer.outputs[index]
            continue
        convolution = isinstance(layer, layers.Conv2D | layers.Conv2DTranspose) and not _interpolates(layer)
        if convolution or isinstance(layer, layers.Dense):
            return [layer]
        inputs = layer._inbound_nodes[node].input_tensors
        if isinstance(layer, layers.Concatenate | layers.Add):
            return [head for part in inputs for head in _heads(part)]
        passed = layers.Activation | layers.Softmax | layers.Reshape | layers.Flatten | EuclideanRBF
        if not isinstance(layer, passed) and not _interpolates(layer):
            return []
        tensor = inputs[0]


@contextlib.contextmanager
def _recorded(layer: Any) -> Iterator[list[Any]]:
    """Collect what the layer gives before its activation."""
    seen: list[Any] = []
    original = layer.call

    def call(*args: Any, **kwargs: Any) -> Any:
        seen.append(original(*args, **kwargs))
        return seen[-1]

    with replaced(layer, "activation", keras.activations.linear), replaced(layer, "call", call):
        yield seen


def _rescale(layer: Any, values: Array, spread: float) -> None:
    flat = values.reshape(-1, values.shape[-1]).astype("float64")
    mean = flat.mean(axis=0)
    deviation = float((flat - mean).std())
    if not math.isfinite(deviation) or deviation < 1e-12:
        return
    factor = spread / deviation
    kernel = ops.convert_to_numpy(layer.kernel)
    layer.kernel.assign((kernel * np.float32(factor)).astype("float32"))
    if layer.use_bias:
        # The values hold the old bias already.
        bias = ops.convert_to_numpy(layer.bias)
        layer.bias.assign(((bias - mean) * factor).astype("float32"))


def _calibrate_sizes(model: keras.Model, decoder: Decoder) -> None:
    """Bring the logarithms of YOLOv3's box sizes nearer to 0, the anchors' sizes; SSD's variances do so for SSD."""
    if not isinstance(decoder, YoloV3):
        return
    for index, anchors in zip(decoder_order(model, decoder.outputs), decoder.anchors, strict=True):
        for head in _heads(model.outputs[index]):
            kernel, bias = (ops.convert_to_numpy(variable) for variable in (head.kernel, head.bias))
            factors = np.ones((len(anchors), len(bias) // len(anchors)), np.float32)
            factors[:, 2:4] = _SIZE_SPREAD / _DETECTOR_SPREAD  # x, y, width, height, objectness, classes
            head.kernel.assign(kernel * factors.ravel())
            head.bias.assign(bias * factors.ravel())


def _calibrate_scores(model: keras.Model, decoder: Decoder, photos: Any) -> None:
    """Shift a detector's class scores so that about 16 boxes survive on each photo."""
    order = decoder_order(model, decoder.outputs)
    shapes = [tuple(model.outputs[index].shape) for index in order]
    channels = _class_channels(decoder, shapes)
    if not channels:
        return
    size = tuple(model.inputs[0].shape[1:3])
    values = call_sparingly(model, photos)

    def decode(shifts: Array) -> Sequence[Array]:
        moved = [values[index] + _at_channels(shifts, of) for index, of in zip(order, channels, strict=True)]
        return [ops.convert_to_numpy(tensor) for tensor in decoder.decode(moved, size, ops)]

    shifts = _balanced(decode, decoder.check(shapes, size))
    for index, of in zip(order, channels, strict=True):
        for head in _heads(model.outputs[index]):
            bias = ops.convert_to_numpy(head.bias)
            head.bias.assign(bias + np.resize(_at_channels(shifts, of), bias.shape))


def _balanced(decode: Callable[[Array], Sequence[Array]], classes: int) -> Array:
    """Return the shift of each class at which the photos' numbers of boxes are nearest to the wanted one.

    A class follows the photos that it is strong on, so that a photo of little contrast gets boxes as well.
    """
    shifts = best = np.zeros(classes, np.float32)
    nearest = math.inf
    for _ in range(_ROUNDS):
        boxes, scores = decode(shifts)
        survivors = np.array([len(greedy(*photo, Nms())) for photo in zip(boxes, scores, strict=True)])
        lacking = np.log(_SURVIVORS / (survivors + 1))
        if np.abs(lacking).max() < nearest:
            nearest, best = np.abs(lacking).max(), shifts
        if nearest < math.log(_NEAR):
            break
        strength = np.power(scores, 4, dtype="float64").sum(axis=1)
        shifts = shifts + np.float32(_STEP) * (lacking @ (strength / strength.sum(axis=0))).astype("float32")
    return best


def _class_channels(decoder: Decoder, shapes: Sequence[tuple[int | None, ...]]) -> list[Any]:
    """Return the class of each channel's logit, for each output, -1 for other channels; empty where unknown."""
    channels = [np.full(shape[-1] or 0, -1) for shape in shapes]
    match decoder:
        case Ssd(activation="sigmoid" | "softmax"):
            first = int(decoder.background)
            channels[1][first:] = np.arange(len(channels[1]) - first)
        case YoloV3():
            for of, anchors in zip(channels, decoder.anchors, strict=True):
                boxes = of.reshape(len(anchors), -1)  # each x, y, width, height, objectness, classes
                boxes[:, 5:] = np.arange(boxes.shape[1] - 5)
        case _:
            return []
    return channels


def _at_channels(shifts: Array, of: Any) -> Array:
    """Return a class' shift at its channels, 0 at others."""
    return np.where(of < 0, np.float32(0), shifts[of])
