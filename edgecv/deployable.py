"""The noun Deployable: network + preprocessing + head + labels, defined once.

It runs in Keras by itself, on any backend, and so is the original that artifacts are compared with.
Exporters lower this definition; none of them repeats a rule of it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgecv.architecture import Task
from edgecv.decoders import decoder_to_json
from edgecv.detection import THRESHOLDS, DetectionHead
from edgecv.errors import ModelError, one_line
from edgecv.localisation import Localisation
from edgecv.network_outputs import decoder_order, flat_tensors
from edgecv.nms import Suppress
from edgecv.preprocess import Preprocess
from edgecv.resize import GraphResize
from edgecv.runtime import Arrays, TensorInfo
from edgecv.segmentation import CHECKPOINT, MASK, BestClass, SegmentationHead

if TYPE_CHECKING:
    import keras

    from edgecv.decoders import Decoder

__all__ = ["Deployable", "ModelInfo"]

Activation = Literal["softmax", "sigmoid", "none"]
ActivationOption = Literal["auto", "softmax", "sigmoid", "none"]
InputType = Literal["uint8", "float32"]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What `edgecv.build` knows of a network and a file of it carries.

    Attributes:
        name: Name of the architecture or of the user's file.
        task: What its outputs mean; None where nobody said so.
        preprocess: The scaling that it was trained with; None where nobody said so.
        labels: One name a class, or empty.
        decoder: How its outputs become boxes and scores, where it is a detector.
        localisation: How its outputs become one class and one box, where it is a localiser.
        activation: What the scores of its classes went through inside it, where its layers do not tell.
        weights_source: Where the weights come from.
        notes: What the user should know, such as why weights are random.
        pictures: Pictures of its own kind, to verify on beside the shipped photos.
    """

    name: str
    task: Task | None = None
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
    decoder: "Decoder | None" = None
    localisation: Localisation | None = None
    activation: Activation | None = None
    weights_source: str = "file"
    notes: tuple[str, ...] = ()
    pictures: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Deployable:
    """Everything that the device needs, in one callable definition.

    Attributes:
        network: Maps float32 ``(batch, height, width, channels)`` to its outputs.
        name: Name in metadata and default file names.
        task: What the outputs mean.
        input_size: ``(height, width)`` in pixels.
        channels: 3 = RGB, 1 = luminance.
        preprocess: From 0…255 RGB to what the network was trained on.
        input_dtype: ``uint8``: pictures go in; ``float32``: the bare network, already preprocessed.
        batch: Pictures per run; None where dynamic.
        added_activation: Added after the network's last layer.
        activation: What the first output went through in all, in the network or added.
        top_k: Classification: give the K best instead of all.
        detection: Detection: decoder and suppression.
        localisation: Localisation: what the box's numbers mean.
        segmentation: Segmentation: how scores of pixels become a mask.
        resize: The resize where it is inside the graph: pictures of any size go in.
        labels: One name a class, or empty.
        weights_source: Where the weights come from.
        notes: What the user should know.
        pictures: Pictures of its own kind, to verify on beside the shipped photos.
    """

    network: "keras.Model"
    name: str
    task: Task
    input_size: tuple[int, int]
    channels: int
    preprocess: Preprocess
    output_names: tuple[str, ...]
    input_dtype: InputType = "uint8"
    batch: int | None = 1
    added_activation: Activation = "none"
    activation: Activation = "none"
    top_k: int | None = None
    detection: DetectionHead | None = None
    localisation: Localisation | None = None
    segmentation: SegmentationHead | None = None
    resize: GraphResize | None = None
    labels: tuple[str, ...] = ()
    weights_source: str = "file"
    notes: tuple[str, ...] = field(default=())
    pictures: tuple[Path, ...] = ()

    @property
    def input(self) -> TensorInfo:
        """The artifact's input; its height and width are None where the resize is inside."""
        sides: tuple[int | None, int | None] = self.input_size if self.resize is None else (None, None)
        return TensorInfo(name="image", shape=(self.batch, *sides, self.channels), dtype=self.input_dtype)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Names of the tensors inside the artifact that verification reads."""
        if self.segmentation is not None:
            return (CHECKPOINT,)
        return self.detection.checkpoints if self.detection else ()

    @property
    def picture_sized(self) -> tuple[str, ...]:
        """Names of the outputs ``(batch, height, width)`` whose sides are the picture's, whatever its size is."""
        return (MASK,) if self.segmentation is not None and self.resize is not None else ()

    @property
    def thresholds(self) -> dict[str, float]:
        """Settings that the caller may change at run time where the format has optional inputs; their defaults."""
        nms = self.detection.nms if self.detection else None
        return {name: getattr(nms, name) for name in THRESHOLDS} if nms else {}

    def postprocess(self) -> dict[str, Any]:
        """Return what metadata say of all that follows the network."""
        document: dict[str, Any] = {
            "activation": self.activation,
            "added_activation": self.added_activation,
            "top_k": self.top_k,
        }
        if self.detection is not None:
            nms = self.detection.nms
            document["decoder"] = decoder_to_json(self.detection.decoder)
            document["nms"] = nms.to_json() if nms else None
            document["score_activation"] = self.detection.score_activation
            document["fixed_boxes"] = self.detection.fixed_boxes
        if self.localisation is not None:
            document["localisation"] = self.localisation.to_json()
        if self.segmentation is not None:
            document["segmentation"] = self.segmentation.to_json()
        return document

    def graph_resize(self) -> dict[str, Any] | None:
        """Return what metadata say of the resize inside the graph."""
        if self.resize is None:
            return None
        return {"mode": self.resize.mode, "height": self.input_size[0], "width": self.input_size[1]}

    def graph(
        self,
        image: Any,
        network: Callable[[Any], Any] | None = None,
        *,
        thresholds: Mapping[str, Any] | None = None,
        suppress: Suppress | None = None,
        best_class: BestClass | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Define the whole graph: the one place, for Keras and for every exporter.

        Args:
            image: Tensor ``(batch, height, width, channels)`` of `input_dtype`; uint8 in [0, 255] RGB.
            network: Replaces the call of the network; it gets the preprocessed tensor.
            thresholds: Scalar tensors in place of the settings that `thresholds` names.
            suppress: A format's own operator for suppression.
            best_class: A backend's own operation for the best of several scores.

        Returns:
            Output name → tensor in the artifact's order, and checkpoint name → tensor.
        """
        from keras import ops

        call = network or self._call_network
        x = image
        if self.resize is not None:
            x = self.resize.apply(image, self.input_size, ops)
        if self.input_dtype == "uint8":
            x = self.preprocess.apply(ops.cast(x, "float32"), ops)

        def place(boxes: Any) -> Any:
            return boxes if self.resize is None else self.resize.boxes_in_picture(boxes, image, self.input_size, ops)

        def place_mask(mask: Any) -> Any:
            return mask if self.resize is None else self.resize.mask_in_picture(mask, image, self.input_size, ops)

        if self.segmentation is not None:
            (scores,) = flat_tensors(call(x))
            return self.segmentation.apply(scores, self.input_size, ops, place=place_mask, best_class=best_class)
        if self.detection is None:
            return self.head(flat_tensors(call(x)), place), {}
        sized = [self._at_size(x, size, ops) for size in self.detection.sizes(self.input_size)]
        outputs = [each for scaled in sized for each in self._in_order(flat_tensors(call(scaled)), ops)]
        return self.detection.apply(
            outputs, self.input_size, ops, place=place, thresholds=thresholds or {}, suppress=suppress
        )

    def head(self, outputs: Sequence[Any], place: Callable[[Any], Any] = lambda boxes: boxes) -> dict[str, Any]:
        """Turn the outputs of any other network into the artifact's: activation, top-k, box, names.

        Args:
            outputs: The network's, in Keras' order.
            place: Maps boxes ``(batch, 4)`` from 0…1 of the input to 0…1 of what the caller sees.
        """
        from keras import ops

        if self.localisation is not None:
            scores, box, *objectness = self.localisation.decode(self._in_order(outputs, ops), ops).values()
            return dict(zip(self.output_names, (scores, place(box), *objectness), strict=True))
        tensors = [self._activated(outputs[0], ops), *outputs[1:]]
        if self.top_k is not None:
            scores, classes = ops.top_k(tensors[0], self.top_k)
            tensors = [scores, ops.cast(classes, "int32")]
        return dict(zip(self.output_names, tensors, strict=True))

    def run(self, images: np.ndarray[Any, Any], *, checkpoints: bool = False) -> Arrays:
        """Run it in Keras.

        Args:
            images: uint8 ``(batch, height, width, channels)`` RGB or luminance in [0, 255], or float32 of
                the same shape where `input_dtype` is float32.
            checkpoints: Return the checkpoints, too.

        Raises:
            ModelError: The network cannot run at this size.
        """
        from keras import ops

        from edgecv.layer_graph import call_sparingly

        try:
            outputs, inside = self.graph(ops.convert_to_tensor(images), functools.partial(call_sparingly, self.network))
        except Exception as error:  # Keras and custom layers may raise anything
            height, width = self.input_size
            raise ModelError(f"{self.name} cannot run on {height}x{width} pictures: {one_line(error)}.") from error
        wanted = {**outputs, **inside} if checkpoints else outputs
        return {name: np.asarray(ops.convert_to_numpy(tensor)) for name, tensor in wanted.items()}

    def feed(self, pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Turn uint8 pictures ``(batch, height, width, channels)`` into what the input takes."""
        if self.input_dtype == "uint8":
            return pictures
        return np.ascontiguousarray(self.preprocess.apply(pictures.astype(np.float32), np))

    def _call_network(self, x: Any) -> Any:
        return self.network(x, training=False)

    def _at_size(self, x: Any, size: tuple[int, int], ops: Any) -> Any:
        return x if size == self.input_size else ops.image.resize(x, size, interpolation="bilinear")

    def _in_order(self, outputs: Sequence[Any], ops: Any) -> Sequence[Any]:
        """Return a detector's or localiser's outputs in their order, the first with the activation that was added."""
        order: Decoder | Localisation | None = self.detection.decoder if self.detection else self.localisation
        first, *rest = (outputs[index] for index in decoder_order(self.network, order.outputs if order else ()))
        return [self._activated(first, ops), *rest]

    def _activated(self, tensor: Any, ops: Any) -> Any:
        if self.added_activation == "none":
            return tensor
        return ops.softmax(tensor) if self.added_activation == "softmax" else ops.sigmoid(tensor)
