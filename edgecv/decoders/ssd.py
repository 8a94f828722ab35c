"""The decoder of SSD: offsets to anchors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from edgecv.decoders.anchors import Layer, grid_anchors, linear_scales, merged, ssd_layers
from edgecv.decoders.base import (
    check_fields,
    check_softmax,
    choice,
    constant,
    corners,
    flag,
    list_of,
    number,
    plain,
    shape_text,
    text,
    undoable,
    whole,
)
from edgecv.errors import OptionError

__all__ = ["Ssd"]

Order = Literal["yxhw", "xywh"]
ScoreActivation = Literal["none", "sigmoid", "softmax"]

_SOURCES = ("strides", "feature_maps", "anchors")
_SCALE = number(above=0, maximum=16)
_RATIOS = list_of(number(above=0, maximum=1000))


@dataclass(frozen=True, kw_only=True)
class Ssd:
    """Boxes relative to anchors, and class scores for each anchor.

    The network's outputs:

    * box encodings ``(batch, anchors, 4)``;
    * class scores ``(batch, anchors, classes)``, with ``background`` one more, the first.

    With an anchor's centre (ax, ay) and size (aw, ah), the encoding (tx, ty, tw, th) and the variances v, the box is

        centre x = ax + tx · v0 · aw        width  = aw · exp(tw · v2)
        centre y = ay + ty · v1 · ah        height = ah · exp(th · v3)

    which is the inverse of the offsets of Liu et al., "SSD: Single Shot MultiBox Detector", 2016, equation 2
    (https://arxiv.org/abs/1512.02325). What others call the box coder's scale factors, such as 10, 10, 5, 5,
    are 1 / v. An encoding that overflows gives a box as large as the picture.

    The anchors are made by rule from ``strides`` or ``feature_maps`` (equation 4 and section 2.2 of the paper), or
    listed in ``anchors``; exactly one of the three keys is given. By strides, a layer's grid is the input's
    size over the stride, rounded up, and successive layers of one stride are one layer, as in MediaPipe.

    Attributes:
        strides: Pixels a cell of each layer, finest layer first.
        feature_maps: ``(rows, columns)`` of each layer, finest layer first.
        anchors: ``(centre x, centre y, width, height)`` of each anchor in 0…1 of the input.
        scales: Size of each layer's anchors as a fraction of the input's shorter side; one more gives the scale
            after the last layer (1 without it). Empty: evenly from ``min_scale`` to ``max_scale``.
        min_scale: Scale of the first layer.
        max_scale: Scale of the last layer.
        aspect_ratios: Width / height of a layer's anchors; or one such list for each layer.
        interpolated_aspect_ratio: Width / height of one more anchor, whose scale lies between this layer's and
            the next one's; 0 for none.
        reduce_lowest_layer: The first layer has only three anchors: scale 0.1, and its own scale at ratios 2 and ½.
        variances: In the encoding's order.
        order: Order of the encoding's four numbers: ``yxhw`` (TensorFlow, MediaPipe) or ``xywh`` (the paper).
        activation: What class scores still have to go through.
        background: The first class is the background; it is taken out.
        outputs: Names of the network's outputs, box encodings first; empty for the network's own order.
    """

    name: ClassVar[str] = "ssd"

    strides: tuple[int, ...] = ()
    feature_maps: tuple[tuple[int, int], ...] = ()
    anchors: tuple[tuple[float, float, float, float], ...] = ()
    scales: tuple[float, ...] = ()
    min_scale: float = 0.2
    max_scale: float = 0.95
    aspect_ratios: tuple[float, ...] | tuple[tuple[float, ...], ...] = (1.0, 2.0, 0.5, 3.0, 1 / 3)
    interpolated_aspect_ratio: float = 1.0
    reduce_lowest_layer: bool = False
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    order: Order = "yxhw"
    activation: ScoreActivation = "sigmoid"
    background: bool = True
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(
            self,
            strides=list_of(whole(1), minimum=0),
            feature_maps=list_of(list_of(whole(1), count=2), minimum=0),
            anchors=list_of(list_of(number(), count=4), minimum=0),
            scales=list_of(_SCALE, minimum=0),
            min_scale=_SCALE,
            max_scale=_SCALE,
            aspect_ratios=list_of(_RATIOS) if _nested(self.aspect_ratios) else _RATIOS,
            interpolated_aspect_ratio=number(minimum=0, maximum=1000),
            reduce_lowest_layer=flag(),
            variances=list_of(number(above=0), count=4),
            order=choice(*get_args(Order)),
            activation=choice(*get_args(ScoreActivation)),
            background=flag(),
            outputs=list_of(text(), minimum=0),
        )
        self._check_source()
        if self.anchors:
            self._check_anchors()
        else:
            self._check_layers()

    def layers(self, input_size: tuple[int, int]) -> tuple[Layer, ...]:
        """Return the grids of anchors that the rule gives at an input size; none where anchors are listed."""
        count = len(self.strides or self.feature_maps)
        if not count:
            return ()
        height, width = input_size
        grids = self.feature_maps or tuple((-(-height // stride), -(-width // stride)) for stride in self.strides)
        nested: Any = self.aspect_ratios if _nested(self.aspect_ratios) else [self.aspect_ratios] * count
        layers = ssd_layers(
            grids,
            self.scales or linear_scales(self.min_scale, self.max_scale, count),
            nested,
            interpolated_aspect_ratio=self.interpolated_aspect_ratio,
            reduce_lowest_layer=self.reduce_lowest_layer,
        )
        return merged(layers, self.strides) if self.strides else layers

    @property
    def score_activation(self) -> str:
        """What scores went through last and can be compared without: ``sigmoid`` or ``none``."""
        return undoable(self.activation)

    def check(self, shapes: Sequence[tuple[int | None, ...]], input_size: tuple[int, int]) -> int:
        """Return the number of classes; see `Decoder.check`.

        Raises:
            OptionError: The outputs do not fit.
        """
        fits = len(shapes) == 2 and all(len(shape) == 3 and None not in shape[1:] for shape in shapes)
        if not fits or shapes[0][2] != 4 or shapes[0][1] != shapes[1][1]:
            raise OptionError(
                f"decoder 'ssd': outputs of the shapes {', '.join(map(shape_text, shapes)) or 'none'} do not fit; it "
                "needs box encodings (batch, anchors, 4) and class scores (batch, anchors, classes). "
                "The key 'outputs' names them in this order."
            )
        head, numbers = int(shapes[0][1] or 0), int(shapes[1][2] or 0)
        count = len(self.anchors) or sum(map(len, self.layers(input_size)))
        if count != head:
            raise OptionError(
                f"decoder 'ssd': its keys give {count} anchors at {input_size[0]}x{input_size[1]}, the network's head "
                f"has {head}. Change {'anchors' if self.anchors else 'strides, feature_maps or aspect_ratios'}."
            )
        if numbers - self.background < 1:
            raise OptionError(
                f"decoder 'ssd': {numbers} class scores leave no class beside the background. Set background to false."
            )
        check_softmax(self, self.activation, numbers)
        return numbers - self.background

    def decode(self, outputs: Sequence[Any], input_size: tuple[int, int], ops: Any) -> tuple[Any, Any]:
        """Return boxes and scores; see `Decoder.decode`."""
        encodings, scores = (ops.cast(tensor, "float32") for tensor in outputs)
        return self._boxes(encodings, input_size, ops), self._scores(scores, ops)

    def anchor_boxes(self, input_size: tuple[int, int]) -> Any:
        """Return the anchors, float64 ``(anchors, 4)``: centre x, centre y, width, height in 0…1 of the input."""
        import numpy as np

        return np.array(self.anchors) if self.anchors else grid_anchors(self.layers(input_size), input_size)

    def encode(self, boxes: Any, input_size: tuple[int, int], ops: Any) -> Any:
        """Return the encodings from which `decode` makes these boxes: what the network has to learn.

        Args:
            boxes: ``(batch, anchors, 4)``: for each anchor a box x1, y1, x2, y2 in 0…1 of the input, with an area.
            input_size: ``(height, width)`` of the network's input in pixels.
            ops: The namespace of operations.
        """
        anchors = self.anchor_boxes(input_size)
        variances = self._variances_xywh()
        low, high = ops.split(boxes, 2, axis=-1)
        centres = ((low + high) / 2 - constant(anchors[:, :2], ops)) / constant(anchors[:, 2:] * variances[:2], ops)
        sizes = ops.log((high - low) / constant(anchors[:, 2:], ops)) / constant(variances[2:], ops)
        if self.order == "xywh":
            return ops.concatenate([centres, sizes], axis=-1)
        (x, y), (width, height) = ops.split(centres, 2, axis=-1), ops.split(sizes, 2, axis=-1)
        return ops.concatenate([y, x, height, width], axis=-1)

    def _variances_xywh(self) -> Any:
        import numpy as np

        variances = np.array(self.variances)
        return variances[[1, 0, 3, 2]] if self.order == "yxhw" else variances

    def _boxes(self, encodings: Any, input_size: tuple[int, int], ops: Any) -> Any:
        import numpy as np

        anchors, variances = self.anchor_boxes(input_size), self._variances_xywh()
        if self.order == "yxhw":
            y, x, height, width = ops.split(encodings, 4, axis=-1)
            centres, sizes = ops.concatenate([x, y], axis=-1), ops.concatenate([width, height], axis=-1)
        else:
            centres, sizes = ops.split(encodings, 2, axis=-1)
        centres = centres * constant(anchors[:, 2:] * variances[:2], ops) + constant(anchors[:, :2], ops)
        # One number an anchor: engines are slow at products with rows of two.
        scales = np.tile(variances[2:], (len(anchors), 1))
        halves = ops.exp(sizes * constant(scales, ops)) * constant(anchors[:, 2:] / 2, ops)
        return corners(centres, halves, ops)

    def _scores(self, scores: Any, ops: Any) -> Any:
        # The softmax needs the background, the others would do needless work on it.
        if self.activation == "softmax":
            scores = ops.softmax(scores)
        if self.background:
            scores = scores[..., 1:]
        return ops.sigmoid(scores) if self.activation == "sigmoid" else scores

    def _check_source(self) -> None:
        given = [name for name in _SOURCES if getattr(self, name)]
        if len(given) != 1:
            count = " and ".join(given) if given else "none of them"
            raise OptionError(
                f"decoder 'ssd' takes its anchors from one of the keys {', '.join(_SOURCES)}, got {count}. "
                "Give --decoder a FILE.json with one."
            )

    def _check_anchors(self) -> None:
        for index, anchor in enumerate(self.anchors):
            if min(anchor[2:]) <= 0:
                raise OptionError(f"decoder 'ssd': anchor {index} has no area, {list(anchor)!r}.")

    def _check_layers(self) -> None:
        count = len(self.strides or self.feature_maps)
        if self.scales and len(self.scales) not in (count, count + 1):
            raise OptionError(
                f"decoder 'ssd': {len(self.scales)} scales do not fit {count} layers. Give one a layer, or one more."
            )
        if _nested(self.aspect_ratios) and len(self.aspect_ratios) != count:
            raise OptionError(
                f"decoder 'ssd': {len(self.aspect_ratios)} lists of aspect ratios do not fit {count} layers. "
                "Give one list a layer, or one of numbers for all."
            )
        if self.min_scale > self.max_scale:
            raise OptionError(
                f"decoder 'ssd': min_scale must not be above max_scale, got {self.min_scale} and {self.max_scale}."
            )


def _nested(ratios: Any) -> bool:
    ratios = plain(ratios)
    return isinstance(ratios, tuple) and bool(ratios) and isinstance(ratios[0], tuple)
