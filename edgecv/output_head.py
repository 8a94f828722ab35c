"""What a network's outputs mean: its task, which activation they lack, and what turns them into an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecv.architecture import Task
from edgecv.decoders import SlidingWindow
from edgecv.decoders.base import shape_text
from edgecv.deployable import Activation, ActivationOption, ModelInfo
from edgecv.detection import DetectionHead
from edgecv.errors import ModelError, OptionError, one_line
from edgecv.fcn import check_size
from edgecv.last_activation import answered_activation, last_activation
from edgecv.localisation import LOCALISATIONS, Localisation
from edgecv.network_outputs import decoder_order, flat_tensors, network_output_names
from edgecv.nms import Nms
from edgecv.segmentation import MASK, SegmentationHead

if TYPE_CHECKING:
    import keras

    from edgecv.decoders import Decoder

__all__ = ["OutputHead", "read_head"]

_UNKNOWN = "The last layer's activation is unknown: none was added. Set it with --activation."
_ADDED = "The last layer has no activation: {} was added (--activation none leaves it out)."


@dataclass(frozen=True, kw_only=True)
class OutputHead:
    """What a network's outputs mean.

    Attributes:
        task: The task.
        classes: Number of classes, where there are any.
        added: Activation to add to the class scores.
        activation: What the class scores went through in all.
        detection: Decoder and suppression of a detector.
        localisation: What a localiser's box means.
        objectness: A localiser gives an objectness, too.
        segmentation: How scores of pixels become a mask.
        notes: What the user should know.
    """

    task: Task
    classes: int | None
    added: Activation
    activation: Activation
    detection: DetectionHead | None = None
    localisation: Localisation | None = None
    objectness: bool = False
    segmentation: SegmentationHead | None = None
    notes: tuple[str, ...] = ()

    def output_names(self, network: "keras.Model", top_k: int | None) -> tuple[str, ...]:
        """Return the names of an artifact's outputs, in their order."""
        if self.detection is not None:
            return self.detection.output_names
        if self.segmentation is not None:
            return (MASK,)
        scores = "logits" if self.activation == "none" else LOCALISATIONS[0]
        if self.localisation is not None:
            return (scores, *LOCALISATIONS[1 : 3 if self.objectness else 2])
        if self.task == "classification":
            return (scores,) if top_k is None else ("scores", "classes")
        return network_output_names(network)


def read_head(
    network: "keras.Model",
    info: ModelInfo,
    boxes: "Decoder | Localisation | None",
    *,
    nms: Nms | None,
    option: ActivationOption,
    size: tuple[int, int],
    channels: int,
) -> OutputHead:
    """Find out what the outputs mean.

    Args:
        network: The network, without auxiliary outputs.
        info: What is known of it.
        boxes: How its outputs become boxes, or one box; None where they do not.
        nms: Settings of a detector's suppression.
        option: Which activation the class scores are to have gone through.
        size: ``(height, width)`` of the pictures.
        channels: Of the pictures.

    Raises:
        ModelError: The network cannot run at that size.
        OptionError: The outputs do not fit what is said of them.
    """
    asked = _Asked(network=network, info=info, option=option, size=size, channels=channels)
    if boxes is None:
        return asked.segmentation() if info.task == "segmentation" else asked.other()
    return asked.localisation(boxes) if isinstance(boxes, Localisation) else asked.detection(boxes, nms)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A network, and what was asked of it; see `read_head`."""

    network: "keras.Model"
    info: ModelInfo
    option: ActivationOption
    size: tuple[int, int]
    channels: int

    def other(self) -> OutputHead:
        """Read the outputs of a classifier, or of a network of no task that edgecv knows."""
        outputs = flat_tensors(self.network.outputs)
        guessed: Task = "classification" if len(outputs) == 1 and len(outputs[0].shape) == 2 else "other"
        task = self.info.task or guessed
        if task != "classification":
            self._refuse_activation()
            return OutputHead(task=task, classes=None, added="none", activation="none")
        there = self._there(outputs[0]) or answered_activation(self.network, self.size, self.channels)
        added, activation, notes = self._activation(outputs[0], there)
        return OutputHead(task=task, classes=outputs[0].shape[-1], added=added, activation=activation, notes=notes)

    def localisation(self, localisation: Localisation) -> OutputHead:
        """Read the outputs of a localiser."""
        outputs = flat_tensors(self.network.outputs)
        order = decoder_order(self.network, localisation.outputs, "localisation")
        tensors = [outputs[index] for index in order]
        classes = localisation.check([tuple(tensor.shape) for tensor in tensors])
        scores, *objectness, _ = tensors
        added, activation, notes = self._activation(scores, self._there(scores))
        there = last_activation(objectness[0]) if objectness else "sigmoid"
        if there is None:
            notes = (*notes, "The objectness' activation is unknown: it is taken for a sigmoid.")
        elif there != "sigmoid":
            raise OptionError(
                f"localisation: the objectness must come out of a sigmoid, in {self.network.name!r} its activation is "
                f"{there}. Add the sigmoid to the network."
            )
        return OutputHead(
            task="localisation",
            classes=classes,
            added=added,
            activation=activation,
            localisation=localisation,
            objectness=bool(objectness),
            notes=notes,
        )

    def detection(self, decoder: "Decoder", nms: Nms | None) -> OutputHead:
        """Read the outputs of a detector."""
        order = decoder_order(self.network, decoder.outputs)
        added: Activation = "none"
        activation: Activation = "none"
        notes: tuple[str, ...] = ()
        # Only a classifier's scores may lack their activation; other decoders have their own.
        window = decoder if isinstance(decoder, SlidingWindow) else None
        if window and window.takes_probabilities(len(order)):
            scores = flat_tensors(self.network.outputs)[order[0]]
            added, activation, notes = self._activation(scores, self._there(scores))
        else:
            self._refuse_activation()
        passed = window is not None and window.passes_scores(len(order))
        undone = activation if passed else getattr(decoder, "score_activation", "none")
        detection = DetectionHead(decoder=decoder, nms=nms, score_activation=undone)
        shapes: list[tuple[int | None, ...]] = []  # in the decoder's order, scale by scale
        for size in detection.sizes(self.size):
            check_size(self.network, size)
            flat = self._output_shapes(size)
            shapes += [flat[index] for index in order]
        classes = decoder.check(shapes, self.size)
        return OutputHead(
            task="detection", classes=classes, added=added, activation=activation, detection=detection, notes=notes
        )

    def segmentation(self) -> OutputHead:
        """Read the output of a segmenter."""
        shapes = self._output_shapes(self.size)
        rows, columns, classes = shapes[0][1:] if len(shapes) == 1 and len(shapes[0]) == 4 else (None, None, None)
        if rows is None or columns is None or classes is None:
            raise OptionError(
                f"A segmenter gives one output (batch, height, width, classes), {self.network.name!r} gives "
                f"{', '.join(map(shape_text, shapes))}. Give a network of that one output."
            )
        if rows > self.size[0] or columns > self.size[1]:
            raise OptionError(
                f"{self.network.name!r} gives scores of {rows}x{columns} pixels for pictures of "
                f"{self.size[0]}x{self.size[1]}. Give a network whose output is no larger than its input."
            )
        activation = self._pixel_activation(flat_tensors(self.network.outputs)[0], classes)
        head = SegmentationHead(channels=classes, activation=activation, output_size=(rows, columns))
        return OutputHead(
            task="segmentation", classes=head.classes, added="none", activation=activation, segmentation=head
        )

    def _there(self, scores: Any) -> Activation | None:
        """Return what the scores go through in the network; None where nothing tells."""
        return last_activation(scores) or self.info.activation

    def _refuse_activation(self) -> None:
        if self.option not in ("auto", "none"):
            raise OptionError(f"--activation {self.option} is for classifiers; {self.network.name!r} is no classifier.")

    def _activation(self, scores: Any, there: Activation | None) -> tuple[Activation, Activation, tuple[str, ...]]:
        """Return what to add to scores that should be probabilities, what they went through in all, what to say."""
        if self.option == "none":
            return "none", there or "none", ()
        if self.option != "auto":
            return ("none" if there == self.option else self.option), self.option, ()
        if there is None:
            return "none", "none", (_UNKNOWN,)
        if there != "none":
            return "none", there, ()
        added: Activation = "softmax" if scores.shape[-1] != 1 else "sigmoid"
        return added, added, (_ADDED.format(added),)

    def _pixel_activation(self, scores: Any, classes: int) -> Activation:
        """Return what a segmenter's scores went through; none is added, as the best class is the same without.

        Of one channel it must be known: it tells the threshold.
        """
        there = self._there(scores)
        if classes > 1:
            if self.option != there:
                self._refuse_activation()
            return there or "none"
        if there == "softmax":
            raise OptionError(
                f"{self.network.name!r} gives one channel through a softmax, which is 1 everywhere. Use sigmoid."
            )
        if there is None and self.option in ("sigmoid", "none"):
            return "sigmoid" if self.option == "sigmoid" else "none"
        if there is None or self.option not in ("auto", "none", there):
            raise OptionError(
                f"{self.network.name!r} gives one channel, whose activation is {there or 'unknown'}. Where it is "
                "unknown, --activation sigmoid takes it for a probability, and none for a logit."
            )
        return there

    def _output_shapes(self, size: Sequence[int]) -> list[tuple[int | None, ...]]:
        """Return the shapes of the outputs for pictures of a size, in Keras' order."""
        import keras

        height, width = size
        try:
            given = self.network.compute_output_spec(keras.KerasTensor((None, height, width, self.channels)))
        except Exception as error:  # Keras and custom layers may raise anything
            name = self.network.name
            raise ModelError(f"{name} cannot run on {height}x{width} pictures: {one_line(error)}.") from error
        return [tuple(each.shape) for each in flat_tensors(given)]
