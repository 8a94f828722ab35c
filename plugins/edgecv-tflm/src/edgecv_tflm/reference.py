"""What follows the graph, in NumPy: the decoders' own arithmetic and greedy suppression; C is held to it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgecv_tflm.description import Description, Detection, Tensor

if TYPE_CHECKING:
    import numpy as np
    from edgecv.runtime import Arrays

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["NumpyPostprocess", "dequantised", "detections"]


class NumpyPostprocess:
    """Computes an artifact's outputs from those of its graph.

    Attributes:
        name: What it is, for a runner's ``provider``.
    """

    name = "NumPy"

    def __init__(self, description: Description) -> None:
        self._description = description

    def outputs(self, heads: "Sequence[Array]") -> "Arrays":
        """Return the outputs that C dequantises, by name."""
        found = {}
        for place, output, head in self._description.read:
            values = dequantised(heads[place], head)
            found[output.name] = getattr(NumpyOps, output.activation)(values)
        return found

    def decode(self, heads: "Sequence[Array]") -> "tuple[Array, Array]":
        """Return boxes ``(1, anchors, 4)`` and scores ``(1, anchors, classes)`` of all anchors."""
        detection = self._description.detection
        assert detection is not None
        floats = [dequantised(head, about) for head, about in zip(heads, self._description.heads, strict=True)]
        boxes, scores = self._decoded(detection, floats)
        return boxes.reshape(1, detection.anchors, 4), scores.reshape(1, detection.anchors, detection.classes)

    def detect(self, heads: "Sequence[Array]") -> "Arrays":
        """Return the detections, in the form of an artifact's outputs."""
        boxes, scores = self.decode(heads)
        return detections(self._description, boxes[0], scores[0])

    def _decoded(self, detection: Detection, floats: "list[Array]") -> "tuple[Array, Array]":
        if detection.form == "decoded":
            return floats[0], floats[1]
        shapes = self._shapes(detection)
        outputs = [values.reshape(shape) for values, shape in zip(floats, shapes, strict=True)]
        boxes, scores = detection.decoder.decode(outputs, detection.input_size, NumpyOps)
        return boxes, scores

    def _shapes(self, detection: Detection) -> list[tuple[int, ...]]:
        """Return the shapes that the decoder takes: a converter may have drawn its reshaping into the network."""
        if detection.form == "ssd":
            return [(1, detection.anchors, -1)] * 2
        return [(1, rows, columns, -1) for rows, columns in detection.grids]


class NumpyOps:
    """The operations of ``keras.ops`` that decoders use, in NumPy."""

    @staticmethod
    def cast(values: Any, dtype: str) -> Any:
        return values.astype(dtype)

    @staticmethod
    def reshape(values: Any, shape: Any) -> Any:
        return values.reshape(shape)

    @staticmethod
    def split(values: Any, count: int, axis: int = 0) -> Any:
        import numpy as np

        return np.split(values, count, axis)

    @staticmethod
    def concatenate(values: Any, axis: int = 0) -> Any:
        import numpy as np

        return np.concatenate(values, axis)

    @staticmethod
    def exp(values: Any) -> Any:
        import numpy as np

        with np.errstate(over="ignore"):
            return np.exp(values)

    @staticmethod
    def clip(values: Any, low: float, high: float) -> Any:
        import numpy as np

        return np.clip(values, np.float32(low), np.float32(high))

    @staticmethod
    def convert_to_tensor(values: Any) -> Any:
        return values

    @staticmethod
    def none(values: Any) -> Any:
        return values

    @staticmethod
    def sigmoid(values: Any) -> Any:
        import numpy as np

        with np.errstate(over="ignore"):
            return np.float32(1) / (np.float32(1) + np.exp(-values))

    @staticmethod
    def softmax(values: Any) -> Any:
        import numpy as np

        shares = np.exp(values - values.max(axis=-1, keepdims=True))
        return shares / shares.sum(axis=-1, keepdims=True)


def dequantised(values: "Array", tensor: Tensor) -> "Array":
    """Return a tensor of the graph as floats."""
    import numpy as np

    if tensor.dtype != "int8":
        return values
    return (values.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)


def detections(description: Description, boxes: "Array", scores: "Array") -> "Arrays":
    """Suppress one picture's boxes and scores by the greedy reference; in the form of an artifact's outputs."""
    import numpy as np
    from edgecv.greedy import greedy

    detection = description.detection
    assert detection is not None
    assert detection.nms is not None
    found = greedy(boxes, scores, detection.nms)
    lacking = detection.nms.max_detections - len(found)
    return {
        "boxes": np.pad(found.boxes, ((0, lacking), (0, 0)))[None],
        "scores": np.pad(found.scores, (0, lacking))[None],
        "classes": np.pad(found.classes, (0, lacking))[None],
        "count": np.array([len(found)], np.int32),
    }
