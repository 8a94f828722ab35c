"""The network of a run: published weights or fresh ones, the task's head, and the stages in which it learns."""

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgecv.architecture import Architecture
from edgecv.architectures.auxiliary import without_auxiliary
from edgecv.deployable import ModelInfo
from edgecv.errors import ArchitectureError, OptionError, TrainingError, WeightsError
from edgecv.input_sizes import at_size
from edgecv.models import build, open_model
from edgecv.preprocess import Preprocess, for_whole_pictures
from edgecv.training.heads import without_top
from edgecv.training.settings import Settings
from edgecv.training.tasks import TrainingTask, trainable

if TYPE_CHECKING:
    import keras

__all__ = ["FINE_TUNING", "HEAD", "Learner", "Stage", "make_learner", "quicken_statistics", "stages_of", "unfreeze"]

# Names of the stages of a network that has learnt before.
HEAD = "head"
FINE_TUNING = "fine-tuning"

# A tenth: large steps would destroy what the base has learnt.
_FINE_TUNING_SHARE = 0.1
_FRESH = "random"


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A network that is to learn.

    Attributes:
        network: Trained in place; further outputs of a classifier are auxiliary ones. It takes pictures of any size
            where it is trained at several.
        deployable: What is saved: the same layers, without auxiliary outputs, loss and optimizer; of a network for
            any size a twin at the size of its input, which `synchronise` brings up to date.
        info: What `edgecv.deploy` has to know of it.
        pretrained: Whether its base has learnt before.
        heads: Patterns (`fnmatch`) of the names of layers that are new on such a base.
        auxiliary_weight: Weight of the auxiliary outputs' losses.
        notes: What the user should know.
    """

    network: "keras.Model"
    deployable: "keras.Model"
    info: ModelInfo
    pretrained: bool
    heads: tuple[str, ...] = ()
    auxiliary_weight: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of the input in pixels, as it is deployed."""
        _, height, width, _ = self.deployable.inputs[0].shape
        return int(height), int(width)

    @property
    def channels(self) -> int:
        """3 = RGB, 1 = luminance."""
        return int(self.network.inputs[0].shape[3])

    @property
    def preprocess(self) -> Preprocess:
        """From 0…255 to what the network takes."""
        return self.info.preprocess or Preprocess()

    def synchronise(self) -> None:
        """Give what is saved the weights that were learnt: with multi-scale training they are networks of their own."""
        if self.network.inputs[0].shape[1] is None:
            self.deployable.set_weights(self.network.get_weights())

    def is_head(self, layer: str) -> bool:
        """Tell whether a layer of this name is new on a trained base."""
        return any(fnmatch.fnmatchcase(layer, pattern) for pattern in self.heads)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Epochs with one optimizer and one set of layers that learn.

    Attributes:
        name: For logs.
        first: Its first epoch, from 0.
        epochs: How many.
        rate: Learning rate at its peak.
        learns: Which layers do.
    """

    name: str
    first: int
    epochs: int
    rate: float
    learns: Literal["all", "head", "last layers and head"]


def make_learner(settings: Settings, task: TrainingTask) -> Learner:
    """Build the network of a run.

    Raises:
        UnknownNameError: No such architecture.
        OptionError: The architecture cannot be trained, or not at that size.
        WeightsError: Weights were asked for that cannot be had.
        TrainingError: The weights are those of another network, or of another size.
    """
    import keras

    architecture = trainable(settings.architecture)
    base, source, notes = _start(settings, architecture)
    if base is None:
        keras.utils.set_random_seed(settings.seed)
    network = task.network(architecture, base)
    scaling = architecture.preprocess if base is None else base.edgecv_info.preprocess
    _set_dropout(network, settings.dropout)
    info = task.info(ModelInfo(name=architecture.name, preprocess=scaling, weights_source=source))
    if info.task != "classification" and info.preprocess is not None:
        info = replace(info, preprocess=for_whole_pictures(info.preprocess))
    deployable = _to_save(network)
    deployable.edgecv_info = info
    return Learner(
        network=at_size(network, (None, None)) if settings.multi_scale else network,
        deployable=deployable,
        info=info,
        pretrained=base is not None,
        heads=task.heads(architecture),
        auxiliary_weight=architecture.auxiliary_weight or 0.0,
        notes=notes,
    )


def stages_of(settings: Settings, *, pretrained: bool) -> tuple[Stage, ...]:
    """Return the stages of a run: one for fresh weights; the head alone and then more of it for published ones."""
    if not pretrained:
        return (Stage(name="training", first=0, epochs=settings.epochs, rate=settings.learning_rate, learns="all"),)
    frozen = settings.freeze_epochs
    if frozen is None:
        frozen = math.ceil(settings.epochs / 2)
    fine_rate = settings.fine_tune_rate or settings.learning_rate * _FINE_TUNING_SHARE
    learns: Literal["all", "last layers and head"] = "all" if settings.unfreeze is None else "last layers and head"
    stages = (
        Stage(name=HEAD, first=0, epochs=frozen, rate=settings.learning_rate, learns="head"),
        Stage(name=FINE_TUNING, first=frozen, epochs=settings.epochs - frozen, rate=fine_rate, learns=learns),
    )
    return tuple(stage for stage in stages if stage.epochs)


def unfreeze(learner: Learner, stage: Stage, settings: Settings) -> None:
    """Set which layers learn in a stage; a BatchNorm that does not is in inference mode, as Keras has it.

    Raises:
        OptionError: More layers are to learn than there are.
    """
    from keras import layers

    body = [layer for layer in learner.network.layers if not learner.is_head(layer.name)]
    weighted = [layer for layer in body if layer.weights]
    last = _last(weighted, settings.unfreeze, learner.network.name) if stage.learns == "last layers and head" else []
    for layer in body:
        learns = stage.learns == "all" or any(layer is each for each in last)
        frozen_norm = learner.pretrained and not settings.train_batchnorm
        layer.trainable = learns and not (frozen_norm and isinstance(layer, layers.BatchNormalization))


def quicken_statistics(network: "keras.Model", steps: int) -> None:
    """Let the statistics of BatchNorm layers that learn follow within an epoch, however short it is.

    With Keras' momentum of 0.99 they still hold a third of their untrained values after 100 steps, and the network
    answers by them as if it had learnt nothing. With 1 − 2 / steps an epoch leaves (1 − 2/steps)^steps ≈ 1/e², an
    eighth. Momentum is only ever lowered: from 200 steps an epoch on nothing changes.
    """
    from keras import layers

    most = max(1 - 2 / steps, 0.0)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization) and layer.trainable:
            layer.momentum = min(layer.momentum, most)


def _last(layers: Sequence[Any], count: int | None, name: str) -> Sequence[Any]:
    if count is None or count > len(layers):
        raise OptionError(f"unfreeze must be at most the {len(layers)} layers with weights of {name}, got {count}.")
    return layers[-count:]


def _start(settings: Settings, architecture: Architecture) -> tuple["keras.Model | None", str, tuple[str, ...]]:
    """Return the network to start from, None for fresh weights; what its weights will be called; and notes."""
    fresh = f"trained (seed {settings.seed})"
    published = [name for name in architecture.weights if name != _FRESH]
    if settings.weights == _FRESH or (settings.weights == "auto" and not (published and architecture.transfers)):
        return None, fresh, ()
    if settings.weights in ("auto", "imagenet", *published):
        network = build(architecture.name, weights=settings.weights, seed=settings.seed, input_size=settings.input_size)
        info = network.edgecv_info
        if info.weights_source.startswith(_FRESH):
            # Random weights of `build` keep signals alive in tests; layers' own initialisers are the better start.
            return None, fresh, info.notes
        return network, f"trained from {info.weights_source}", ()
    return _of_file(settings, architecture), f"trained from {settings.weights}", ()


def _of_file(settings: Settings, architecture: Architecture) -> "keras.Model":
    """Open the model or run to start from."""
    path = settings.weights
    if not Path(path).exists():
        raise WeightsError(f"Weights {path!r} do not exist. Give auto, imagenet, random, a model or a run.")
    network = open_model(path)
    if architecture.task != "classification":  # compares layer by layer when it takes them over
        return network
    found = tuple(network.inputs[0].shape[1:3])
    if None in found:
        raise TrainingError(
            f"{path!r} takes pictures of any size: it cannot be trained. Give the network it came from."
        )
    if settings.input_size not in (None, found):
        raise TrainingError(f"{path!r} takes pictures of {found[0]}x{found[1]} pixels. Leave --input-size out.")
    if _shapes(network) != _shapes_of(architecture, found):
        raise TrainingError(f"{path!r} is no {architecture.name}: its layers differ. Name its own architecture.")
    return network


def _shapes(network: "keras.Model") -> list[tuple[int, ...]]:
    return [tuple(each.shape) for each in without_top(network).weights]


def _shapes_of(architecture: Architecture, size: tuple[int, int]) -> list[tuple[int, ...]]:
    try:
        return _shapes(architecture.build(input_size=size))
    except ArchitectureError:  # there is no such network of that size
        return []


def _set_dropout(network: "keras.Model", rate: float | None) -> None:
    """Give a network's dropout layers the rate that was asked for; None leaves the architecture's."""
    from keras import layers

    for layer in network.layers:
        if rate is not None and isinstance(layer, layers.Dropout):
            layer.rate = rate


def _to_save(network: "keras.Model") -> "keras.Model":
    """Return a network of the same layers that will not be compiled: files would hold the optimizer, too."""
    import keras

    outputs = without_auxiliary(network).outputs
    return keras.Model(network.inputs[0], outputs[0] if len(outputs) == 1 else outputs, name=network.name)
