"""All that determines a training run, beside the data and the machine."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from edgecv.data.samples import DataTask
from edgecv.decoders.base import Rule, choice, flag, list_of, number, plain, text, whole
from edgecv.errors import OptionError

__all__ = ["SCALE_STEP", "Settings"]

# Of multi-scale training, in pixels: the stride of YOLO's coarsest map (Redmon, Farhadi, "YOLO9000", 2016, section 2).
SCALE_STEP = 32

Optimizer = Literal["adam", "adamw", "nadam", "sgd"]
Schedule = Literal["cosine", "constant"]
MixedPrecision = Literal["auto", "on", "off"]
ClassLoss = Literal["auto", "hard-negatives", "focal"]


def _or_none(rule: Rule) -> Rule:
    return Rule(rule.text, rule.plural, lambda value: value is None or rule.fits(value))


_RULES = {
    "architecture": text(),
    "data": text(),
    "format": _or_none(text()),
    "task": _or_none(choice(*get_args(DataTask))),
    "split": list_of(number(minimum=0, maximum=1), count=3),
    "seed": whole(0),
    "per_class": _or_none(whole(1)),
    "skip_broken": flag(),
    "input_size": _or_none(list_of(whole(1), count=2)),
    "weights": text(),
    "epochs": whole(1),
    "batch": whole(1),
    "learning_rate": number(above=0, maximum=10),
    "optimizer": choice(*get_args(Optimizer)),
    "weight_decay": number(minimum=0, maximum=1),
    "schedule": choice(*get_args(Schedule)),
    "warmup": number(minimum=0),
    "freeze_epochs": _or_none(whole(0)),
    "unfreeze": _or_none(whole(1)),
    "fine_tune_rate": _or_none(number(above=0, maximum=10)),
    "train_batchnorm": flag(),
    "dropout": _or_none(number(minimum=0, maximum=0.95)),
    "label_smoothing": number(minimum=0, maximum=0.9),
    "augment": text(),
    "objectness": flag(),
    "sqrt_sizes": flag(),
    "box_weight": number(above=0, maximum=1000),
    "class_loss": choice(*get_args(ClassLoss)),
    "anchors": text(),
    "multi_scale": _or_none(list_of(whole(1), count=2)),
    "patience": whole(0),
    "mixed_precision": choice(*get_args(MixedPrecision)),
    "deterministic": flag(),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a run; each is the option of the same name on the command line.

    Attributes:
        architecture: Name of the network.
        data: Where the labelled pictures are.
        format: Their format; None recognises it.
        task: What to learn; None takes what the labels can teach.
        split: Shares of the training, validation and test part.
        seed: Of the split, the weights, the order of the pictures, augmentation and dropout.
        per_class: Use at most so many training pictures a class.
        skip_broken: Go on without broken labels.
        input_size: ``(height, width)`` in pixels; None takes the architecture's.
        weights: ``auto``, ``imagenet``, ``random``, or a model file or run to start from.
        epochs: Of all stages together.
        batch: Pictures per step.
        learning_rate: At its peak.
        optimizer: How steps are taken.
        weight_decay: Decoupled from the gradient (Loshchilov, Hutter, 2019, https://arxiv.org/abs/1711.05101).
        schedule: How the rate goes on: ``cosine`` falls to zero at the end of a stage (Loshchilov, Hutter, 2017,
            equation 5, https://arxiv.org/abs/1608.03983).
        warmup: Epochs in which the rate rises from zero.
        freeze_epochs: Published weights: epochs in which only the new head learns; None takes half of them.
        unfreeze: Published weights: how many of the base's last layers learn afterwards; None for all.
        fine_tune_rate: The rate of that second stage; None takes a tenth of `learning_rate`.
        train_batchnorm: Published weights: BatchNorm learns in the second stage, too.
        dropout: Of all dropout layers; None takes 0.2 before a new head, and what the architecture has elsewhere.
        label_smoothing: Classification: share of the target that is spread over all classes (Szegedy et al.,
            2015, section 7, https://arxiv.org/abs/1512.00567).
        augment: Name of a recipe, or a JSON file of one.
        objectness: Localisation: a third output says whether there is an object; pictures without a box teach it.
        sqrt_sizes: Localisation: the box has the roots of width and height, so that small boxes count more.
        box_weight: Localisation and detection: weight of the box's loss against the classes'.
        class_loss: SSD: how the many anchors without an object are kept from outweighing the others. ``hard-negatives``
            counts three of them for each with one (Liu et al., 2016, section 2.2), ``focal`` all of them, the less
            the surer they are (Lin et al., 2017, equation 5, https://arxiv.org/abs/1708.02002); ``auto`` takes the
            first for scores that compete in a softmax, and the second for independent ones.
        anchors: YOLO: ``auto`` finds them in the training part (`edgecv.data.anchors`), ``default`` takes the
            architecture's; or a JSON file of ``edgecv data anchors``.
        multi_scale: YOLO: train at changing sizes from the first to the second number of pixels, both included, in
            steps of 32; None always trains at the input's size.
        patience: Stop after so many epochs without a better result; 0 never stops early.
        mixed_precision: Compute in float16; ``auto`` does where the device gains from it.
        deterministic: The same numbers on every run, at some cost on a GPU.
    """

    architecture: str
    data: str
    format: str | None = None
    task: DataTask | None = None
    split: tuple[float, float, float] = (0.75, 0.15, 0.10)
    seed: int = 0
    per_class: int | None = None
    skip_broken: bool = False
    input_size: tuple[int, int] | None = None
    weights: str = "auto"
    epochs: int = 20
    batch: int = 32
    learning_rate: float = 1e-3
    optimizer: Optimizer = "adam"
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup: float = 0.0
    freeze_epochs: int | None = None
    unfreeze: int | None = None
    fine_tune_rate: float | None = None
    train_batchnorm: bool = False
    dropout: float | None = None
    label_smoothing: float = 0.0
    augment: str = "none"
    objectness: bool = False
    sqrt_sizes: bool = False
    box_weight: float = 1.0
    class_loss: ClassLoss = "auto"
    anchors: str = "auto"
    multi_scale: tuple[int, int] | None = None
    patience: int = 0
    mixed_precision: MixedPrecision = "auto"
    deterministic: bool = True

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = plain(getattr(self, name))
            if not rule.fits(value):
                option = name.replace("_", "-")
                raise OptionError(f"{option} must be {rule.text}, got {getattr(self, name)!r}.")
            object.__setattr__(self, name, value)
        if self.freeze_epochs is not None and self.freeze_epochs > self.epochs:
            raise OptionError(
                f"freeze-epochs must be at most the {self.epochs} epochs of the run, got {self.freeze_epochs}."
            )
        if self.multi_scale is not None:
            low, high = self.multi_scale
            if low > high or low % SCALE_STEP or high % SCALE_STEP:
                raise OptionError(
                    f"multi-scale must be two multiples of {SCALE_STEP} pixels, the smaller first, got {low}-{high}. "
                    "Leave the values out for 320-608."
                )
        if self.warmup > self.epochs:
            raise OptionError(f"warmup must be at most the {self.epochs} epochs of the run, got {self.warmup:g}.")

    def to_json(self) -> dict[str, Any]:
        """Return the form in run.json."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Settings":
        """Read what `to_json` gave.

        Raises:
            OptionError: A key is unknown or missing, or a value cannot be.
        """
        unknown = set(document) - {field.name for field in fields(cls)}
        if unknown:
            raise OptionError(f"Unknown setting {min(unknown)!r}.")
        try:
            return cls(**document)
        except TypeError as error:
            raise OptionError(f"Settings are incomplete: {error}.") from error

    def differences(self, other: "Settings") -> list[str]:
        """Name the settings in which another run differs: ``"batch 32 -> 64"``."""
        names = [field.name for field in fields(self)]
        return [
            f"{name.replace('_', '-')} {_shown(getattr(self, name))} -> {_shown(getattr(other, name))}"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]


def _shown(value: object) -> str:
    return "default" if value is None else str(value)
