"""The layers of a fully convolutional network, made from those of a classifier: same names, same weights.

Reference: Sermanet et al., "OverFeat", 2014, section 3.5, https://arxiv.org/abs/1312.6229; Long, Shelhamer,
Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, section 3.1,
https://arxiv.org/abs/1411.4038.
"""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from edgecv.classifier_head import Head, Split
from edgecv.errors import UnsupportedLayerError
from edgecv.layer_copies import Names, copy_weights
from edgecv.layer_graph import LayerGraph, Step
from edgecv.receptive_field import GLOBAL_POOLS

__all__ = ["WindowMode", "rewrite"]

WindowMode = Literal["pool", "cell"]
Array = np.ndarray[Any, np.dtype[Any]]

_AXIS_LAYERS = (
    layers.BatchNormalization,
    layers.Concatenate,
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.Softmax,
    layers.UnitNormalization,
)


def rewrite(network: keras.Model, graph: LayerGraph, head: Head, window: WindowMode) -> keras.Model:
    """Return the fully convolutional network, with the weights of ``network``, which stays as it is.

    Args:
        network: A classifier.
        graph: Its steps.
        head: Where its maps become answers.
        window: What takes the place of the pooling: see `edgecv.fcn.to_fcn`.

    Raises:
        UnsupportedLayerError: A layer cannot be rewritten.
    """
    return _Rewriting(graph, head, window).run(network)


class _Rewriting:
    """One walk over the classifier, with the FCN's symbolic tensors in the place of its own."""

    def __init__(self, graph: LayerGraph, head: Head, window: WindowMode) -> None:
        self.graph = graph
        self.head = head
        self.window = window
        self.names = Names(graph)
        self.tensors: dict[int, Any] = {}
        self.windows: dict[int, tuple[int, int]] = {}  # of flattened maps, by slot
        self.made: dict[Any, Any] = {}

    def run(self, network: keras.Model) -> keras.Model:
        given = network.inputs[0]
        channels = self.graph.shapes[self.graph.input][-1]
        name = self.names.unique(given._keras_history.operation.name)
        image = keras.Input((None, None, channels), dtype=given.dtype, name=name)
        self.tensors[self.graph.input] = image
        for step in self.graph.steps:
            self.tensors.update(zip(step.outputs, self._results(step), strict=True))
        outputs = [self._named(slot, name) for slot, name in self._outputs()]
        return keras.Model(
            image, keras.tree.pack_sequence_as(self.graph.structure, outputs), name=f"{network.name}_fcn"
        )

    def _outputs(self) -> list[tuple[int, str]]:
        return list(zip(self.graph.outputs, self.graph.output_names, strict=True))

    def _results(self, step: Step) -> list[Any]:
        split = self.head.splits.get(step.index)
        source, result = step.inputs[0], step.outputs[0]
        form = self.head.forms[source]
        if split is not None:
            return [self._split(step, split)]
        if form == "flat" and self.head.forms[result] == "flat":
            self.windows[result] = self.windows[source]
            if type(step.operation) is layers.BatchNormalization or _reshapes(step.operation):
                return [self.tensors[source]]
        if form == "vector" and (_reshapes(step.operation) or type(step.operation) in GLOBAL_POOLS):
            return [self.tensors[source]]
        if type(step.operation) is layers.Dense and form != "context":
            return [self._convolution(step)(self.tensors[source])]
        return self._called_clone(step, behind=form == "vector")

    def _split(self, step: Step, split: Split) -> Any:
        tensor = self.tensors[step.inputs[0]]
        if split.kind == "flatten":
            if self.window == "cell" and split.window != (1, 1):
                raise UnsupportedLayerError(
                    step.path,
                    f"reads every position of its map of {split.window[0]}x{split.window[1]} cells, so that no cell "
                    "has an answer of its own",
                    "Use --window pool.",
                )
            self.windows[step.outputs[0]] = split.window
            return tensor
        if self.window == "cell":
            return tensor
        key = (id(step.operation), split.window)
        if key not in self.made:
            average = type(step.operation) in (layers.GlobalAveragePooling2D, layers.AveragePooling2D)
            pool = layers.AveragePooling2D if average else layers.MaxPooling2D
            policy = step.operation.dtype_policy
            self.made[key] = pool(split.window, strides=1, name=self.names.of(step), dtype=policy)
        return self.made[key](tensor)

    def _convolution(self, step: Step) -> Any:
        """Return the convolution that a dense layer is on every window."""
        dense, source = step.operation, step.inputs[0]
        kernel = self.windows[source] if self.head.forms[source] == "flat" else (1, 1)
        folded = self.head.folded.get(source, ())
        key = (id(dense), kernel, folded)
        if key not in self.made:
            if getattr(dense, "quantization_mode", None):
                raise UnsupportedLayerError(step.path, "has quantized weights", "Convert the float network.")
            convolution = layers.Conv2D(
                dense.units,
                kernel,
                activation=dense.activation,
                use_bias=dense.use_bias or bool(folded),
                name=self.names.of(step),
                dtype=dense.dtype_policy,
                trainable=dense.trainable,
            )
            channels = int(self.graph.shapes[source][-1] or 0) // (kernel[0] * kernel[1])
            convolution.build((None, None, None, channels))
            _copy_dense(dense, convolution, folded)
            self.made[key] = convolution
        return self.made[key]

    def _called_clone(self, step: Step, *, behind: bool) -> list[Any]:
        """Call the FCN's copy of the step's layer; behind the head it works along the channels of a map."""
        operation = step.operation
        key = (id(operation), behind)
        if key in self.made:
            return step.call(self.made[key], self.tensors)
        changes = {"name": self.names.of(step), **(_along_channels(operation) if behind else {})}
        clone = self.made[key] = type(operation).from_config({**operation.get_config(), **changes})
        results = step.call(clone, self.tensors)
        if isinstance(operation, keras.Layer):
            copy_weights(operation, clone)
        return results

    def _named(self, slot: int, name: str) -> Any:
        """Return an output under the name that it has in the classifier."""
        tensor = self.tensors[slot]
        if tensor._keras_history.operation.name == name or isinstance(self.graph.structure, dict):
            return tensor
        return layers.Identity(name=self.names.unique(name))(tensor)


def _reshapes(operation: Any) -> bool:
    return type(operation) in (layers.Flatten, layers.Reshape)


def _along_channels(operation: Any) -> dict[str, Any]:
    """Return what changes in the configuration of a layer of ``(batch, channels)`` that gets a map."""
    if isinstance(operation, layers.PReLU):
        return {"shared_axes": [1, 2]}
    if not isinstance(operation, _AXIS_LAYERS):
        return {}
    return {"axis": [-1] if isinstance(operation.axis, list | tuple) else -1}


def _copy_dense(dense: layers.Dense, convolution: layers.Conv2D, folded: Sequence[Any]) -> None:
    """Copy a dense layer's weights: Flatten goes through rows, columns and channels as a kernel does."""
    kernel = ops.convert_to_numpy(dense.kernel)
    bias = ops.convert_to_numpy(dense.bias) if dense.use_bias else None
    if folded:
        exact = kernel.astype("float64")
        shift = np.zeros(exact.shape[1]) if bias is None else bias.astype("float64")
        for normalization in reversed(folded):
            exact, shift = _folded(normalization, exact, shift)
        kernel, bias = exact.astype(kernel.dtype), shift.astype(kernel.dtype)
    kernel = kernel.reshape(tuple(convolution.kernel.shape))
    convolution.set_weights([kernel] if bias is None else [kernel, bias])


def _folded(normalization: Any, kernel: Array, bias: Array) -> tuple[Array, Array]:
    """Put a BatchNormalization into the dense layer behind it.

    With a = gamma / sqrt(variance + epsilon) and b = beta - mean * a, (a x + b) K + c = x (a K) + (b K + c).
    Before a Flatten it would need numbers of its own for every position, which no layer of an FCN has.
    """
    mean, variance = (
        ops.convert_to_numpy(value).astype("float64")
        for value in (normalization.moving_mean, normalization.moving_variance)
    )
    scale = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        scale = scale * ops.convert_to_numpy(normalization.gamma)
    shift = -mean * scale
    if normalization.center:
        shift = shift + ops.convert_to_numpy(normalization.beta)
    return kernel * scale[:, None], bias + shift @ kernel
