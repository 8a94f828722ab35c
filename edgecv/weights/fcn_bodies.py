"""Published weights of segmenters: those of the classifier that they were made from; their classes are fresh."""

from typing import TYPE_CHECKING

from edgecv.architecture import Architecture
from edgecv.errors import WeightsError
from edgecv.registry import load_architecture
from edgecv.weights.keras_applications import PUBLISHED as CLASSIFIERS

if TYPE_CHECKING:
    import keras

__all__ = ["PUBLISHED", "PublishedBodies"]


class PublishedBodies:
    """Takes the ImageNet weights of VGG16 or MobileNetV2, whose dense layers `edgecv.fcn.to_fcn` turns around."""

    def missing(self, architecture: Architecture) -> str | None:
        """Say why the weights cannot be had, with the remedy; None where they can."""
        return CLASSIFIERS.missing(_classifier(architecture))

    def load(self, architecture: Architecture, model: "keras.Model") -> str:
        """Put the weights into all of ``model`` but its heads, and return their source.

        The heads are drawn anew, each time the same: this is where training starts.

        Raises:
            WeightsError: The download failed, the file is damaged, or the weights do not fit.
        """
        from edgecv.fcn import to_fcn

        classifier = _classifier(architecture)
        trained = classifier.build()
        source = CLASSIFIERS.load(classifier, trained)
        known = {variable.path: variable for variable in to_fcn(trained).weights}
        for layer in model.layers:
            if architecture.is_head(layer.name):
                _redraw(layer)
                continue
            for variable in layer.weights:
                found = known.get(variable.path)
                if found is None or tuple(found.shape) != tuple(variable.shape):
                    raise WeightsError(
                        f"Published weights of {classifier.name} do not fit {architecture.name}: {variable.path!r} is "
                        "missing there or has another shape. Use random weights or a file."
                    )
                variable.assign(found)
        return f"{source}, classes untrained"


PUBLISHED = PublishedBodies()


def _classifier(architecture: Architecture) -> Architecture:
    return load_architecture("mobilenet_v2" if "mobilenet_v2" in architecture.name else "vgg16")


def _redraw(layer: "keras.Layer") -> None:
    for variable in layer.weights:
        if variable.name == "kernel":
            start = layer.kernel_initializer
            config = start.get_config()
            seeded = type(start).from_config(config | {"seed": 0} if "seed" in config else config)
            variable.assign(seeded(variable.shape, dtype=variable.dtype))
        else:
            variable.assign(variable * 0)
