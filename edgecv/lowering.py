"""From a Deployable to one TensorFlow graph: the step that exporters of every format share.

The graph is traced once, without variables: small values become constants of it; large kernels become
inputs where the exporter asks for that, so that no converter copies them around.

Each layer's operations are traced under a name scope ``L<index>``, so that a converter's names lead back
to the Keras layers unambiguously (TensorFlow makes scopes unique by appending ``_1``, which could as
well be another layer's name).

The multiplication and the channel reversal of the preprocessing are folded into the first convolution.
Both commute with zero padding, so this is exact up to rounding; the subtraction of the mean does not, and stays.
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecv.deployable import Deployable
from edgecv.errors import ConversionError, EdgecvError, one_line
from edgecv.nms import Suppress
from edgecv.preprocess import Preprocess

__all__ = ["LoweredGraph", "layer_paths", "lower", "scope_indices", "unique_name"]

_SCOPE = re.compile(r"(?:^|[/;+])L(\d+)(?:_\d+)?(?=[/;+:]|$)")


@dataclass(frozen=True, kw_only=True)
class LoweredGraph:
    """A traced graph without variables.

    Attributes:
        function: The ``ConcreteFunction``.
        graph_def: Its ``GraphDef``.
        input_name: Tensor name of the picture input, such as ``"image:0"``.
        output_names: Artifact's output name → tensor name in the graph.
        checkpoints: Name of a checkpoint → tensor name in the graph.
        thresholds: Name of an optional scalar input → tensor name in the graph.
        kernels: Tensor name → value, for the kernels that became inputs.
        kernel_names: Tensor name → Keras path of the variable.
        layers: Index of a scope ``L<index>`` → the Keras layer's path.
    """

    function: Any
    graph_def: Any
    input_name: str
    output_names: Mapping[str, str]
    checkpoints: Mapping[str, str]
    thresholds: Mapping[str, str]
    kernels: Mapping[str, np.ndarray[Any, Any]]
    kernel_names: Mapping[str, str]
    layers: Mapping[int, str]

    def paths(self, names: Iterable[str]) -> list[str]:
        """Return the paths of the layers that a converter's names lead back to, in the network's order."""
        indices = {index for name in names for index in scope_indices(name)}
        return [self.layers[index] for index in sorted(indices) if index in self.layers]

    def layers_behind(self, output: str, known: Collection[str]) -> list[str]:
        """Return the paths of the layers that end in an output, back to the first whose path is ``known``.

        A converter that gives the last operation the output's name leaves no trace of them.
        """
        nodes = {node.name: node for node in self.graph_def.node}
        found: list[str] = []
        names = [self.output_names[output]]
        seen: set[str] = set()
        while names:
            name = names.pop().lstrip("^").partition(":")[0]
            if name in seen:
                continue
            seen.add(name)
            paths = self.paths([name])
            if not any(path in known for path in paths):
                found += paths
                names += nodes[name].input
        return [path for path in self.layers.values() if path in found]


def lower(
    deployable: Deployable,
    *,
    kernels_as_inputs: bool,
    thresholds_as_inputs: bool = False,
    suppress: Suppress | None = None,
) -> LoweredGraph:
    """Trace a Deployable.

    Args:
        deployable: What to trace.
        kernels_as_inputs: Make large kernels inputs of the graph.
        thresholds_as_inputs: Make the detection thresholds scalar inputs of the graph.
        suppress: The format's own operator for suppression, traced as TensorFlow operations.

    Raises:
        ConversionError: Keras runs on another backend, or the network cannot be traced at this size.
    """
    _check_backend()
    network = deployable.network
    values, scaling = _folded_values(deployable)
    kernels = {
        f"kernel_{index}": variable
        for index, variable in enumerate(network.variables)
        if kernels_as_inputs and len(variable.shape) >= 2
    }
    thresholds = list(deployable.thresholds) if thresholds_as_inputs else []
    trace = _tracer(dataclasses.replace(deployable, preprocess=scaling), values, kernels, thresholds, suppress)
    layers = layer_paths(network)
    function = _frozen(_traced(trace, _signature(deployable, thresholds, kernels), layers, deployable))
    names = sorted_outputs(function, deployable)
    return LoweredGraph(
        function=function,
        graph_def=_inlinable(function.graph.as_graph_def()),
        input_name=function.inputs[0].name,
        output_names={name: names[name] for name in deployable.output_names},
        checkpoints={name: names[name] for name in deployable.checkpoints},
        thresholds={name: f"{name}:0" for name in thresholds},
        kernels={f"{name}:0": values[id(variable)] for name, variable in kernels.items()},
        kernel_names={f"{name}:0": variable.path for name, variable in kernels.items()},
        layers={index: path for index, (path, _) in enumerate(layers)},
    )


def _check_backend() -> None:
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ConversionError(
            f"Exporting needs Keras on TensorFlow, it runs on {backend!r}. Set KERAS_BACKEND=tensorflow or unset it."
        )


def _tracer(
    deployable: Deployable,
    values: Mapping[int, np.ndarray[Any, Any]],
    kernels: Mapping[str, Any],
    thresholds: Sequence[str],
    suppress: Suppress | None,
) -> Callable[..., dict[str, Any]]:
    """Return what TensorFlow traces: a function of the picture, the thresholds and the kernels.

    Args:
        deployable: With the preprocessing that is not folded into ``values``.
        values: Value of each variable by its id.
        kernels: The variables that become inputs.
        thresholds: Names of the thresholds that do.
        suppress: As for `lower`.
    """
    import tensorflow as tf

    network = deployable.network

    def trace(image: Any, *inputs: Any) -> dict[str, Any]:
        chosen = dict(zip(thresholds, inputs, strict=False))
        given = {id(variable): tensor for variable, tensor in zip(kernels.values(), inputs[len(chosen) :], strict=True)}

        def value(variable: Any) -> Any:
            tensor = given.get(id(variable))
            return tf.constant(values[id(variable)]) if tensor is None else tensor

        def call(x: Any) -> Any:
            trainable = [value(variable) for variable in network.trainable_variables]
            fixed = [value(variable) for variable in network.non_trainable_variables]
            return network.stateless_call(trainable, fixed, x, training=False)[0]

        outputs, checkpoints = deployable.graph(
            image, call, thresholds=chosen, suppress=suppress, best_class=_best_class
        )
        named = {**outputs, **checkpoints}
        return {name: tf.identity(tensor, name=f"output_{name}") for name, tensor in named.items()}

    return trace


def _signature(deployable: Deployable, thresholds: Sequence[str], kernels: Mapping[str, Any]) -> list[Any]:
    import tensorflow as tf

    return [
        tf.TensorSpec(deployable.input.shape, deployable.input_dtype, name="image"),
        *(tf.TensorSpec((), tf.float32, name=name) for name in thresholds),
        *(tf.TensorSpec(variable.shape, variable.dtype, name=name) for name, variable in kernels.items()),
    ]


def _traced(
    trace: Callable[..., Any], signature: Sequence[Any], layers: list[tuple[str, Any]], deployable: Deployable
) -> Any:
    """Return the ``ConcreteFunction``."""
    import tensorflow as tf

    try:
        with _scoped(layers):
            return tf.function(trace, input_signature=signature, autograph=False).get_concrete_function()
    except EdgecvError:
        raise
    except Exception as error:  # Keras and custom layers may raise anything
        height, width = deployable.input_size
        raise ConversionError(f"{deployable.name} cannot be traced at {height}x{width}: {one_line(error)}.") from error


def _best_class(scores: Any) -> Any:
    """Return the best of the last axis, the first of equal ones, by the operator that both formats have for it.

    The definition's top_k takes ONNX Runtime twice as long, and LiteRT eight times (21 classes at 512 × 512).
    """
    import tensorflow as tf

    return tf.argmax(scores, axis=-1, output_type=tf.int32)


def sorted_outputs(function: Any, deployable: Deployable) -> dict[str, str]:
    """Return output or checkpoint → name of the function's tensor, in the order of the function's outputs."""
    # A dictionary's values are flattened in the order of its sorted keys.
    names = sorted((*deployable.output_names, *deployable.checkpoints))
    return {name: tensor.name for name, tensor in zip(names, function.outputs, strict=True)}


def layer_paths(network: Any) -> list[tuple[str, Any]]:
    """Return (path, layer) of every layer below a network, nested ones as ``outer/inner``, each once."""
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()

    def walk(parent: Any, prefix: str) -> None:
        for layer in getattr(parent, "layers", None) or getattr(parent, "_layers", []):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            path = f"{prefix}{layer.name}"
            found.append((path, layer))
            walk(layer, f"{path}/")

    walk(network, "")
    return found


def scope_indices(name: str) -> list[int]:
    """Return the indices of the innermost layer scopes in a converter's name, one a joined part."""
    indices = []
    for part in re.split(r"[;+]", name):
        found = _SCOPE.findall(part)
        if found:
            indices.append(int(found[-1]))
    return indices


def unique_name(name: str, taken: set[str]) -> str:
    """Return ``name``, with ``_2`` and so on where it is taken, and take it."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


@contextlib.contextmanager
def _scoped(layers: list[tuple[str, Any]]) -> Iterator[None]:
    """Let every layer's call run in the name scope of its index; undone afterwards."""
    import tensorflow as tf

    def scoped(call: Callable[..., Any], scope: str) -> Callable[..., Any]:
        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            with tf.name_scope(scope):
                return call(*args, **kwargs)

        return run

    try:
        for index, (_, layer) in enumerate(layers):
            object.__setattr__(layer, "call", scoped(layer.call, f"L{index}"))
        yield
    finally:
        for _, layer in layers:
            layer.__dict__.pop("call", None)


def _frozen(function: Any) -> Any:
    """Turn variables that a custom layer or a SavedModel captured into constants.

    An unfrozen function would silently become a file that outputs NaN.
    """
    if not function.graph.captures:
        return function
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def _inlinable(graph_def: Any) -> Any:
    """Let converters inline what Keras 3.15 asks XLA to compile, such as grouped convolutions."""
    for calls in (graph_def.node, graph_def.library.function):
        for call in calls:
            for attribute in ("_XlaMustCompile", "_noinline"):
                call.attr.pop(attribute, None)
    return graph_def


def _folded_values(deployable: Deployable) -> tuple[dict[int, np.ndarray[Any, Any]], Preprocess]:
    """Return the variables' values with the preprocessing's linear part folded in, and what is left of it."""
    values = {id(variable): np.asarray(variable.numpy()) for variable in deployable.network.variables}
    scaling = deployable.preprocess
    kernel = _first_kernel(deployable.network)
    if deployable.input_dtype != "uint8" or kernel is None:
        return values, scaling
    # The kernel is (height, width, in channels, filters), for a depthwise one (height, width, in channels, 1).
    folded = values[id(kernel)] * np.asarray(scaling.scale, np.float32).reshape(1, 1, -1, 1)
    mean = scaling.mean
    if scaling.order == "bgr":
        folded = folded[:, :, ::-1]
        mean = mean[::-1]
    values[id(kernel)] = np.ascontiguousarray(folded.astype(np.float32))
    return values, Preprocess(style=scaling.style, mean=mean, fit=scaling.fit)


def _first_kernel(network: Any) -> Any | None:
    """Return the kernel of the convolution that is the only reader of the input, past zero padding, or None."""
    from keras import layers

    network = getattr(network, "_functional", None) or network  # a Sequential keeps its graph inside
    if not hasattr(network, "_nodes_by_depth"):
        return None
    tensor = network.inputs[0]
    while True:
        readers = [
            node.operation
            for nodes in network._nodes_by_depth.values()
            for node in nodes
            if any(given is tensor for given in node.input_tensors)
        ]
        is_output = any(output is tensor for output in network.outputs)
        if is_output or len(readers) != 1 or len(readers[0]._inbound_nodes) != 1:
            return None
        layer = readers[0]
        if isinstance(layer, layers.ZeroPadding2D):
            tensor = layer._inbound_nodes[0].output_tensors[0]
        elif type(layer) is layers.Conv2D and layer.groups == 1 and layer.kernel.dtype == "float32":
            return layer.kernel
        else:
            return None
