"""ImageNet weights of the ``keras.applications`` networks: from Keras' cache, or downloaded by Keras."""

import contextlib
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecv.architecture import Architecture
from edgecv.errors import WeightsError
from edgecv.weights.network import unreachable

if TYPE_CHECKING:
    import keras

__all__ = ["PUBLISHED", "PublishedKerasWeights"]

_BASE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_TAIL = "_weights_tf_dim_ordering_tf_kernels.h5"


@dataclass(frozen=True)
class _File:
    """One of Keras' weight files.

    Attributes:
        url: Its address; the cache keeps the last part as the name.
        md5: What Keras checks; None where it checks nothing.
    """

    url: str
    md5: str | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


# What keras.applications asks for at weights="imagenet"; a test compares them.
_FILES = {
    "densenet121": _File(f"{_BASE}densenet/densenet121{_TAIL}", "9d60b8095a5708f2dcce2bca79d332c7"),
    "efficientnet_b0": _File(
        "https://storage.googleapis.com/keras-applications/efficientnetb0.h5", "902e53a9f72be733fc0bcb005b3ebbac"
    ),
    "inception_v3": _File(f"{_BASE}inception_v3/inception_v3{_TAIL}", "9a0d58056eeedaa3f26cb7ebd46da564"),
    "mobilenet": _File(f"{_BASE}mobilenet/mobilenet_1_0_224_tf.h5"),
    "mobilenet_v2": _File(f"{_BASE}mobilenet_v2/mobilenet_v2{_TAIL.removesuffix('.h5')}_1.0_224.h5"),
    "resnet101": _File(f"{_BASE}resnet/resnet101{_TAIL}", "f1aeb4b969a6efcfb50fad2f0c20cfc5"),
    "resnet152": _File(f"{_BASE}resnet/resnet152{_TAIL}", "100835be76be38e30d865e96f2aaae62"),
    "resnet50": _File(f"{_BASE}resnet/resnet50{_TAIL}", "2cb95161c43110f7111970584f804107"),
    "vgg16": _File(f"{_BASE}vgg16/vgg16{_TAIL}", "64373286793e3c8b2b4e3219cbf3544b"),
    "vgg19": _File(f"{_BASE}vgg19/vgg19{_TAIL}", "cbe5617147190e668d6c5d5026f83318"),
    "xception": _File(f"{_BASE}xception/xception{_TAIL}", "0a58e3b7378bc2990ea3b43d5981f1f6"),
}
# keras.applications.EfficientNetB0 with published weights divides by the root of these once more.
_STDDEV = (0.229, 0.224, 0.225)


class PublishedKerasWeights:
    """Looks into Keras' cache, then at the network."""

    def missing(self, architecture: Architecture) -> str | None:
        """Say why the weights cannot be had, with the remedy; None where they can."""
        file = _FILES[architecture.name]
        if _intact(_cached(file), file):
            return None
        problem = unreachable(file.url)
        return problem and f"{problem}. Connect to the network, or use random weights or a file."

    def load(self, architecture: Architecture, model: "keras.Model") -> str:
        """Put the weights into ``model`` and return their source.

        Raises:
            WeightsError: The download failed, the file is damaged, or the weights do not fit.
        """
        file = _FILES[architecture.name]
        path = _cached(file)
        if not _intact(path, file):
            path = _download(file)
        _assign(architecture, model, path)
        return f"imagenet (keras.applications, {file.name})"


PUBLISHED = PublishedKerasWeights()


def _cached(file: _File) -> Path:
    """Return where Keras keeps the file; `keras.utils.get_file` documents both places."""
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras")
    return home.expanduser() / "models" / file.name


def _intact(path: Path, file: _File) -> bool:
    if not path.is_file():
        return False
    if file.md5 is None:
        return True
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == file.md5


def _download(file: _File) -> Path:
    from keras import utils

    try:
        # Keras prints its progress bar to stdout, which belongs to results.
        with contextlib.redirect_stdout(sys.stderr):
            path = utils.get_file(file.name, file.url, cache_subdir="models", file_hash=file.md5)
    except Exception as error:  # Keras raises bare Exception when a download fails
        problem = " ".join(str(error).split())
        raise WeightsError(f"Weights {file.name!r} cannot be downloaded: {problem}. Try again.") from error
    return Path(path)


def _assign(architecture: Architecture, model: "keras.Model", path: Path) -> None:
    try:
        model.load_weights(path)
    except Exception as error:  # h5py raises nearly anything on a damaged file
        problem = " ".join(str(error).split())[:200]
        height, width, _ = architecture.input_shape
        raise WeightsError(
            f"Published weights {path.name!r} do not fit or are damaged: {problem}. "
            f"Build {architecture.name} at {height}x{width}, or delete the file from Keras' cache."
        ) from error
    if architecture.name == "efficientnet_b0":
        _fold_rescaling(model)


def _fold_rescaling(model: "keras.Model") -> None:
    """Put the extra division of the published EfficientNet-B0 into its Normalization layer.

    Keras adds a Rescaling layer by 1 / sqrt(stddev) only when it builds with ``weights="imagenet"``;
    (x − mean) / sqrt(variance) / sqrt(stddev) is a Normalization of variance × stddev.
    """
    import numpy as np
    from keras import layers, ops

    normalization = next(layer for layer in model.layers if isinstance(layer, layers.Normalization))
    variance = ops.convert_to_numpy(normalization.adapt_variance)
    normalization.adapt_variance.assign(variance * np.asarray(_STDDEV, "float32"))
    normalization.finalize_state()
