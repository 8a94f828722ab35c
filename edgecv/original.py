"""The original's side of every comparison: the pictures it is asked, and what it answers.

What runs is the Deployable in Keras, never a file of it.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.errors import ModelError, OptionError
from edgecv.photos import shipped_photos
from edgecv.pictures import fit_picture, picture_of_array, read_picture
from edgecv.runtime import Arrays

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["Pictures", "gather_pictures", "noise_picture", "original_answers", "picture_size"]

Array = np.ndarray[Any, np.dtype[Any]]

_NOISE_PICTURES = 2
# Pixels that the original sees at once, in whole pictures: 0.4 kB each, 2 kB where Keras itself calls the network and
# keeps all activations.
_PIXELS_AT_ONCE = 12 * 224 * 224
_ENOUGH = 8


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures at the network's size.

    Attributes:
        names: Where each comes from; ``photo:NAME`` and ``noise:SEED`` can be made again anywhere.
        values: uint8 ``(pictures, height, width, channels)``.
    """

    names: tuple[str, ...]
    values: Array

    def __add__(self, others: "Pictures") -> "Pictures":
        return Pictures(names=self.names + others.names, values=np.concatenate([self.values, others.values]))

    def chosen(self, rows: Sequence[int]) -> "Pictures":
        """Return some of them."""
        return Pictures(names=tuple(self.names[row] for row in rows), values=self.values[list(rows)])


def gather_pictures(
    deployable: "Deployable", images: Iterable[Path | str | Array] | None, *, more: Sequence[Path] = ()
) -> Pictures:
    """Return the pictures to verify on, at the network's size, with seeded noise at the end.

    Without ``images`` they are the shipped photos and those that the network brings of its own kind. Where ``more``
    are enough, the shipped photos, which may be of another kind, are left out.

    Raises:
        OptionError: ``images`` is empty.
        PictureError: A picture cannot be read.
    """
    use_shipped = images is None and len(more) < _ENOUGH
    shipped = {f"photo:{name}": picture for name, picture in shipped_photos().items()} if use_shipped else {}
    given = {}
    for index, image in enumerate((*(deployable.pictures if images is None else images), *more)):
        if isinstance(image, str | Path):
            given[str(image)] = read_picture(Path(image)).pixels
        else:
            given[f"array:{index}"] = picture_of_array(image).pixels
    named = {**shipped, **given}
    if not named:
        raise OptionError("There are no pictures to verify on. Give at least one.")
    channels, fit = deployable.channels, deployable.preprocess.fit
    size = picture_size(deployable.input.shape, deployable.input_size)
    values = [fit_picture(picture, fit, size, channels) for picture in named.values()]
    noise = {f"noise:{seed}": noise_picture(seed, (*size, channels)) for seed in range(_NOISE_PICTURES)}
    return Pictures(names=(*named, *noise), values=np.stack([*values, *noise.values()]))


def picture_size(input_shape: Sequence[int | None], network_size: tuple[int, int]) -> tuple[int, int]:
    """Return the ``(height, width)`` of pictures to verify on; where any goes in, one of another aspect ratio."""
    height, width = input_shape[1:3]
    # Odd sides: nothing is a multiple of a stride.
    return (height or network_size[0] * 4 // 3 | 1, width or network_size[1] * 7 // 4 | 1)


def noise_picture(seed: int, shape: tuple[int, int, int]) -> Array:
    """Return seeded uint8 noise ``(height, width, channels)``; NumPy keeps PCG64's stream over versions."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)


def original_answers(deployable: "Deployable", pictures: Pictures) -> Arrays:
    """Run the original on as many pictures at once as fit; with all classes of a top-k, and the checkpoints.

    Raises:
        ModelError: It cannot run at this size.
    """
    if deployable.top_k is not None:
        deployable = dataclasses.replace(deployable, top_k=None, output_names=("probabilities",))
    values = pictures.values
    fixed = deployable.network.inputs[0].shape[0] is not None
    count = 1 if fixed else max(1, _PIXELS_AT_ONCE // math.prod(values.shape[1:3]))
    answers = [
        each for start in range(0, len(values), count) for each in _answers(deployable, values[start : start + count])
    ]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _answers(deployable: "Deployable", pictures: Array) -> list[Arrays]:
    """Run the original on some pictures at once, or one by one where a layer is written for a batch of one."""
    with contextlib.suppress(ModelError):
        together = deployable.run(deployable.feed(pictures), checkpoints=True)
        if all(len(values) == len(pictures) for values in together.values()):
            return [together]
    return [deployable.run(deployable.feed(picture[None]), checkpoints=True) for picture in pictures]
