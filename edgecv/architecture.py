"""The noun Architecture: a named builder of a network, described by recorded data.

The description is data, so that listing imports no framework; the builder is imported when it builds.
"""

import fnmatch
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from edgecv.errors import ArchitectureError, EdgecvError
from edgecv.preprocess import Preprocess

if TYPE_CHECKING:
    import keras

    from edgecv.decoders import Decoder

__all__ = ["Architecture", "Task"]

Task = Literal["classification", "detection", "localisation", "segmentation", "other"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network that edgecv builds by name (entry-point group ``edgecv.architectures``).

    Attributes:
        name: The name on the command line.
        task: What its outputs mean.
        builder: ``"module:function"``; the function takes ``input_shape`` ``(height, width, channels)``
            in pixels and ``classes`` and returns an uncompiled functional ``keras.Model`` whose last
            layer gives probabilities.
        input_shape: Default ``(height, width, channels)``.
        classes: Default number of classes.
        parameters: ``count_params()`` at the defaults, BatchNorm statistics included.
        reference: The paper, with the table or figure that defines the network.
        preprocess: The scaling and resizing that its published weights were trained with.
        decoder: How its outputs become boxes and scores, where it is a detector.
        labels: Name of a label list that ships with edgecv (``"imagenet"``), or None.
        weights: What ``--weights`` accepts beside ``auto`` and a file.
        minimum: Smallest height and width in pixels.
        auxiliary_weight: What the loss of each auxiliary classifier weighs beside the main one's in training; None
            where the network has none. The builder of one that has takes ``auxiliary``.
        heads: Detectors and segmenters: patterns (`fnmatch`) of the names of layers that give the outputs. Those
            that do not fit other classes are made anew; all others are taken over from a trained network.
        transfers: Whether its published weights are a good start for other data: training then begins with them unless
            it is told otherwise.
    """

    name: str
    builder: str
    input_shape: tuple[int, int, int]
    parameters: int
    reference: str
    task: Task = "classification"
    classes: int = 1000
    preprocess: Preprocess = Preprocess()
    decoder: "Decoder | None" = None
    labels: str | None = None
    weights: tuple[str, ...] = ("random",)
    minimum: int = 32
    auxiliary_weight: float | None = None
    heads: tuple[str, ...] = ()
    transfers: bool = True

    def is_head(self, layer: str) -> bool:
        """Tell whether a layer of this name gives an output."""
        return any(fnmatch.fnmatchcase(layer, pattern) for pattern in self.heads)

    def build(
        self, *, input_size: tuple[int, int] | None = None, classes: int | None = None, auxiliary: bool = False
    ) -> "keras.Model":
        """Build the network with the weights that its layers' initialisers give.

        Args:
            input_size: ``(height, width)`` in pixels; the default is the architecture's.
            classes: Number of classes; the default is the architecture's.
            auxiliary: Give the outputs of the auxiliary classifiers behind the main one, for training.

        Raises:
            ArchitectureError: The size or the number of classes cannot be built, or there are no auxiliary classifiers.
        """
        height, width = input_size or self.input_shape[:2]
        if min(height, width) < self.minimum:
            raise ArchitectureError(
                f"{self.name} needs an input of at least {self.minimum}x{self.minimum} pixels, got {height}x{width}."
            )
        classes = self.classes if classes is None else classes
        if classes < 1:
            raise ArchitectureError(f"{self.name} needs at least 1 class, got {classes}.")
        if auxiliary and self.auxiliary_weight is None:
            raise ArchitectureError(f"{self.name} has no auxiliary classifiers. Build it without.")
        module, _, function = self.builder.partition(":")
        build = cast("Callable[..., Any]", getattr(importlib.import_module(module), function))
        shape = (height, width, self.input_shape[2])
        options = {"auxiliary": True} if auxiliary else {}
        try:
            return cast("keras.Model", build(shape, classes=classes, **options))
        except EdgecvError:
            raise
        except Exception as error:  # builders are others' code, and a backend has its own way to be out of memory
            problem = " ".join(str(error).split())[:200] or type(error).__name__
            raise ArchitectureError(f"{self.name} cannot be built at {height}x{width}: {problem}") from error
