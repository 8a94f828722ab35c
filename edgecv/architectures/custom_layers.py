"""Keras layers of edgecv's own, in ``keras.ops`` alone; registered, so that files which hold them open by themselves.

Importing this module registers them under ``edgecv>NAME``; `edgecv.models.open_model` does so.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

import edgecv.architectures.bilinear  # noqa: F401  registers its initializer, too
from edgecv.errors import ArchitectureError

__all__ = ["EuclideanRBF", "LocalResponseNormalization", "PartialConv2D", "scaled_tanh"]

_register: Callable[[Any], Any] = keras.saving.register_keras_serializable(package="edgecv")


@_register
def scaled_tanh(x: Any) -> Any:
    """Return 1.7159 · tanh(2/3 · x), elementwise: ±1 stay nearly ±1, where its curvature is largest.

    Reference:
        LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
        https://doi.org/10.1109/5.726791, equation 6 and appendix A.
    """
    return 1.7159 * ops.tanh((2.0 / 3.0) * x)


@_register
class LocalResponseNormalization(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Divides every value by its surroundings along the channels.

    ``y[c] = x[c] / (bias + alpha · Σ x[j]²) ** beta`` with j from c − depth_radius to c + depth_radius, as far as
    there are such channels. Takes and gives float ``(batch, …, channels)``. The sum is not divided by its length:
    ``alpha`` is the paper's (and TensorFlow's), a fifth of Caffe's for five channels.

    Args:
        depth_radius: Channels on either side; the paper's n is ``2 · depth_radius + 1``.
        bias: The paper's k, above 0.
        alpha: Factor of the sum of squares, at least 0.
        beta: Exponent.

    Raises:
        ArchitectureError: A value is out of its range.

    Reference:
        Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
        section 3.3, https://papers.nips.cc/paper/4824; the defaults are its values.
    """

    def __init__(
        self, *, depth_radius: int = 2, bias: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **options: Any
    ) -> None:
        super().__init__(**options)
        if depth_radius < 0 or bias <= 0 or alpha < 0:
            raise ArchitectureError(
                "LocalResponseNormalization needs depth_radius >= 0, bias > 0 and alpha >= 0, got "
                f"depth_radius {depth_radius}, bias {bias:g}, alpha {alpha:g}."
            )
        self.depth_radius = int(depth_radius)
        self.bias, self.alpha, self.beta = float(bias), float(alpha), float(beta)

    def call(self, x: Any) -> Any:
        """Normalise."""
        return x * self._factor(self.bias + self.alpha * self._sums(ops.square(x)))

    def _sums(self, squares: Any) -> Any:
        """Add what lies at most `depth_radius` channels away.

        Shifted slices: ONNX Runtime takes a third to a seventh of the time of its own LRN operator for them, LiteRT
        a fifth of that of LOCAL_RESPONSE_NORMALIZATION (96 channels of 55 × 55 and 256 of 27 × 27).
        """
        channels, radius = squares.shape[-1], min(self.depth_radius, squares.shape[-1] - 1)
        padded = ops.pad(squares, [(0, 0)] * (len(squares.shape) - 1) + [(radius, radius)])
        total = padded[..., :channels]
        for shift in range(1, 2 * radius + 1):
            total = total + padded[..., shift : shift + channels]
        return total

    def _factor(self, base: Any) -> Any:
        """Return ``base ** -beta``; roots are faster than powers, and as exact."""
        root = ops.rsqrt(base)
        if self.beta == 0.5:
            return root
        if self.beta == 0.75:
            return root * ops.sqrt(root)
        return ops.power(base, -self.beta)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        own = {"depth_radius": self.depth_radius, "bias": self.bias, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}


@_register
class PartialConv2D(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Convolution at stride 1 without padding, whose maps each see some of the maps before.

    Takes float ``(batch, height, width, channels)`` and gives ``(batch, height − k + 1, width − k + 1, filters)``.
    Only connections that exist have weights, ``kernel`` ``(k, k, connections)``: nothing has to be kept at zero
    while it trains. `full_kernel` is the ordinary kernel, a product with a constant that exporters fold.

    Args:
        connections: For every filter, the channels that it sees, from 0, each once.
        kernel_size: Side of the kernel, k.
        activation: As in ``keras.layers.Conv2D``.

    Raises:
        ArchitectureError: A filter sees nothing, or a channel twice, or one that is not there.

    Reference:
        LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
        https://doi.org/10.1109/5.726791, section II.B and table I.
    """

    def __init__(
        self, connections: Sequence[Sequence[int]], *, kernel_size: int, activation: Any = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.connections = tuple(tuple(int(channel) for channel in seen) for seen in connections)
        if not self.connections or any(not seen or len({*seen}) < len(seen) for seen in self.connections):
            raise ArchitectureError(
                f"PartialConv2D {self.name!r} needs at least one channel a filter, each once, got {self.connections}."
            )
        # What Conv2D has under these names: the receptive field is followed by them.
        self.kernel_size = (int(kernel_size), int(kernel_size))
        self.strides = self.dilation_rate = (1, 1)
        self.padding, self.data_format = "valid", "channels_last"
        self.filters = len(self.connections)
        self.activation = keras.activations.get(activation)

    @property
    def fan_in(self) -> float:
        """Inputs of one value, averaged over the filters."""
        return self.kernel_size[0] * self.kernel_size[1] * sum(map(len, self.connections)) / self.filters

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        channels = input_shape[-1]
        pairs = [(channel, index) for index, seen in enumerate(self.connections) for channel in seen]
        if min(pairs)[0] < 0 or max(pairs)[0] >= channels:
            raise ArchitectureError(
                f"PartialConv2D {self.name!r} gets {channels} channels, and its connections name "
                f"{sorted({channel for channel, _ in pairs})}."
            )
        spread = np.zeros((len(pairs), channels, self.filters), "float32")
        spread[range(len(pairs)), [channel for channel, _ in pairs], [index for _, index in pairs]] = 1
        self._spread = spread.reshape(len(pairs), channels * self.filters)
        limit = float(np.sqrt(3 / self.fan_in))  # of variance 1 / fan in
        initializer = keras.initializers.RandomUniform(-limit, limit)
        self.kernel = self.add_weight(
            name="kernel", shape=(*self.kernel_size, len(pairs)), initializer=initializer, trainable=True
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros", trainable=True)

    @property
    def full_kernel(self) -> Any:
        """The kernel ``(k, k, channels, filters)``, zero where there is no connection."""
        kernel = ops.convert_to_tensor(self.kernel)
        full = ops.matmul(kernel, ops.cast(self._spread, kernel.dtype))
        return ops.reshape(full, (*self.kernel_size, -1, self.filters))

    def call(self, x: Any) -> Any:
        """Convolve."""
        y = ops.conv(x, self.full_kernel, strides=1, padding="valid", data_format="channels_last")
        return self.activation(y + ops.convert_to_tensor(self.bias))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return ``(batch, height − k + 1, width − k + 1, filters)``."""
        batch, *sides, _ = input_shape
        pairs = zip(sides, self.kernel_size, strict=True)
        return (batch, *(None if side is None else side - k + 1 for side, k in pairs), self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        own = {
            "connections": [list(seen) for seen in self.connections],
            "kernel_size": self.kernel_size[0],
            "activation": keras.activations.serialize(self.activation),
        }
        return {**super().get_config(), **own}


@_register
class EuclideanRBF(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Minus the squared distance to each unit's centre: −Σ (x − centre)².

    Takes float ``(batch, …, n)`` and gives ``(batch, …, units)``, at most 0; where a softmax follows, probabilities
    of units whose penalty is the distance. It is computed as 2·x·c − |c|² − |x|², one matrix product.

    Args:
        units: Number of units.
        centres: Where they start, ``(units, n)``; the default is ±1, drawn with equal probability from a fixed seed.
        trainable_centres: Train them; the paper keeps them fixed, at least at first.

    Raises:
        ArchitectureError: The centres have another shape than the units and the input ask for.

    Reference:
        LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998,
        https://doi.org/10.1109/5.726791, equation 7.
    """

    def __init__(self, units: int, *, centres: Any = None, trainable_centres: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.units = int(units)
        self.trainable_centres = bool(trainable_centres)
        self._start = centres

    def build(self, input_shape: Any) -> None:
        """Make the centres, ``(n, units)`` as the kernel of a dense layer."""
        start = _signs(self.units, input_shape[-1]) if self._start is None else np.asarray(self._start, "float32")
        if start.shape != (self.units, input_shape[-1]):
            raise ArchitectureError(
                f"EuclideanRBF {self.name!r} has {self.units} units of {input_shape[-1]} inputs, and its centres are "
                f"of shape {start.shape}."
            )
        self.centres = self.add_weight(
            name="centres",
            shape=(input_shape[-1], self.units),
            initializer=lambda shape, dtype=None: ops.cast(ops.reshape(start.T, shape), dtype),
            trainable=self.trainable_centres,
        )

    def call(self, x: Any) -> Any:
        """Measure."""
        centres = ops.convert_to_tensor(self.centres)
        away = ops.sum(ops.square(centres), axis=0) + ops.sum(ops.square(x), axis=-1, keepdims=True)
        return ops.matmul(x, 2.0 * centres) - away

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return ``(batch, …, units)``."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments but for the centres, which are among the weights."""
        return {**super().get_config(), "units": self.units, "trainable_centres": self.trainable_centres}


def _signs(units: int, numbers: int) -> np.ndarray[Any, Any]:
    """Return ±1 with equal probability, the same in every process."""
    generator = np.random.Generator(np.random.PCG64(0))
    return np.where(generator.integers(0, 2, (units, numbers)) == 1, 1.0, -1.0).astype("float32")
