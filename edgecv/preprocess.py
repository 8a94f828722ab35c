"""What happens between the pixels of a picture and the network's input: the one definition.

Two steps, both recorded in every artifact:

* `Fit`: how a picture of any size becomes the network's height and width (on the host, by Pillow);
* `Preprocess`: how 0…255 RGB becomes the numbers that the network was trained on (inside the graph).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from edgecv.errors import OptionError

__all__ = ["LETTERBOX_GREY", "STYLES", "Fit", "Preprocess", "for_whole_pictures"]

# What a letterbox fills the rest with, in 0…255.
LETTERBOX_GREY = 114

FitMode = Literal["stretch", "crop", "letterbox"]
Filter = Literal["bilinear", "bicubic"]
ChannelOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a picture becomes the network's size.

    Attributes:
        mode: ``stretch`` ignores the aspect ratio; ``crop`` takes the centre; ``letterbox`` keeps the
            whole picture and fills the rest with grey 114.
        fraction: For ``crop``: the side of the crop as a fraction of the picture's short side, in (0, 1].
        filter: Interpolation of the resize.
    """

    mode: FitMode = "stretch"
    fraction: float = 1.0
    filter: Filter = "bilinear"

    def __post_init__(self) -> None:
        if self.mode not in get_args(FitMode):
            raise OptionError(f"resize mode must be one of {', '.join(get_args(FitMode))}, got {self.mode!r}")
        if self.filter not in get_args(Filter):
            raise OptionError(f"resize filter must be one of {', '.join(get_args(Filter))}, got {self.filter!r}")
        if not isinstance(self.fraction, int | float) or not 0 < self.fraction <= 1:
            raise OptionError(f"crop fraction must be in (0, 1], got {self.fraction!r}")


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """``y = (x − mean) × scale`` per channel, after an optional reversal of the channels.

    Every published scaling is of this form. Written as subtract-then-multiply, the multiplication and
    the channel reversal commute with zero padding, so that exporters can fold them into the first
    convolution exactly.

    Attributes:
        style: Name of the scaling, for reports.
        order: Channel order that the network wants; the input is always RGB.
        mean: Subtracted, in 0…255 units and in the network's channel order; one value or one a channel.
        scale: Multiplied afterwards; one value or one a channel.
        fit: How pictures become the network's size.
    """

    style: str = "none"
    order: ChannelOrder = "rgb"
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    fit: Fit = Fit()

    def __post_init__(self) -> None:
        if self.order not in get_args(ChannelOrder):
            raise OptionError(f"channel order must be rgb or bgr, got {self.order!r}")
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if len(values) not in (1, 3) or not all(isinstance(v, int | float) and abs(v) < 1e30 for v in values):
                raise OptionError(f"{name} must be one or three finite numbers, got {list(values)!r}")
            object.__setattr__(self, name, tuple(float(v) for v in values))
        if 0.0 in self.scale:
            raise OptionError(f"scale must not be zero, got {list(self.scale)!r}")

    def apply(self, x: Any, xp: Any) -> Any:
        """Map ``x``, float32 ``(batch, height, width, channels)`` in [0, 255] RGB, to the network's input.

        Args:
            x: An array or a tensor.
            xp: The namespace of its operations: ``numpy`` or ``keras.ops``.
        """
        if self.order == "bgr":
            x = xp.take(x, [2, 1, 0], axis=-1)
        if any(self.mean):
            x = x - xp.array(self.mean, dtype="float32")
        if set(self.scale) != {1.0}:
            x = x * xp.array(self.scale, dtype="float32")
        return x

    def check_channels(self, channels: int) -> None:
        """Refuse a scaling of three channels for a network of another number of channels.

        Raises:
            OptionError: They do not fit.
        """
        needs_three = self.order == "bgr" or 3 in (len(self.mean), len(self.scale))
        if needs_three and channels != 3:
            raise OptionError(
                f"preprocess {self.style!r} is for 3 channels, the network has {channels}. Use none, 0-1 or tf."
            )

    def to_json(self) -> dict[str, Any]:
        """Return the form that metadata and ``--preprocess FILE.json`` have."""
        return {
            "style": self.style,
            "order": self.order,
            "mean": list(self.mean),
            "scale": list(self.scale),
            "resize": asdict(self.fit),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Preprocess":
        """Read what `to_json` writes; missing keys take their defaults.

        Raises:
            OptionError: A key is unknown or a value is out of range.
        """
        if not isinstance(document, Mapping):
            raise OptionError(f"preprocess must be a JSON object, got {type(document).__name__}")
        _known_keys("preprocess", document, {"style", "order", "mean", "scale", "resize"})
        resize = document.get("resize", {})
        if not isinstance(resize, Mapping):
            raise OptionError(f"preprocess key 'resize' must be a JSON object, got {type(resize).__name__}")
        _known_keys("preprocess key 'resize'", resize, {field.name for field in fields(Fit)})
        numbers = {}
        for name in ("mean", "scale"):
            if name in document:
                value = document[name]
                numbers[name] = tuple(value) if isinstance(value, list) else (value,)
        return cls(
            style=str(document.get("style", "custom")),
            order=document.get("order", "rgb"),
            fit=Fit(**resize),
            **numbers,
        )


def for_whole_pictures(scaling: Preprocess) -> Preprocess:
    """Return the scaling with a letterbox where it crops: what looks for boxes looks at all of a picture."""
    return replace(scaling, fit=Fit(mode="letterbox")) if scaling.fit.mode == "crop" else scaling


def _known_keys(what: str, document: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(document) - known)
    if unknown:
        raise OptionError(f"{what} has the unknown key {unknown[0]!r}. Known: {', '.join(sorted(known))}.")


# The scalings of keras.applications.imagenet_utils.preprocess_input, and the two plain ones.
_TORCH_MEAN, _TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STYLES: Mapping[str, Preprocess] = {
    "none": Preprocess(),
    "0-1": Preprocess(style="0-1", scale=(1 / 255,)),
    "tf": Preprocess(style="tf", mean=(127.5,), scale=(1 / 127.5,)),
    "torch": Preprocess(
        style="torch",
        mean=tuple(255 * m for m in _TORCH_MEAN),
        scale=tuple(1 / (255 * s) for s in _TORCH_STD),
    ),
    "caffe": Preprocess(style="caffe", order="bgr", mean=(103.939, 116.779, 123.68)),
}
