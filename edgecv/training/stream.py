"""The stream of training: samples in, batches of pictures and targets out, the same ones for the same epoch."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from edgecv.data.samples import Sample
from edgecv.errors import OptionError
from edgecv.preprocess import Fit
from edgecv.training.augmentation import RECIPES, Recipe
from edgecv.training.loading import BOXES, IMAGES, MASK, Array, Loader, Targets
from edgecv.training.settings import SCALE_STEP

__all__ = ["GIBIBYTE", "Stream"]

GIBIBYTE = 2**30
_DRAWS = "draws"
_BATCHES_OF_A_SIZE = 10


class Stream:
    """Batches of a part of a data set, epoch by epoch.

    What an epoch yields depends on the samples, the seed and the epoch's number alone. Its order is a permutation of
    the whole part, and each picture's augmentation has its own row of chance; see `Recipe.draws`.

    Attributes:
        samples: The part of the data set.
        steps: Batches an epoch; the last one may be smaller.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        size: tuple[int, int],
        channels: int,
        fit: Fit,
        targets: Targets,
        batch: int,
        recipe: Recipe = RECIPES["none"],
        seed: int = 0,
        shuffle: bool = False,
        cache_bytes: int = GIBIBYTE,
        keep_all_boxes: bool = False,
        scales: tuple[int, int] | None = None,
    ) -> None:
        """Describe the stream; nothing is read yet.

        Args:
            samples: The part of the data set.
            size: ``(height, width)`` of the network's input, in pixels.
            channels: 3 = RGB, 1 = luminance, as the network has.
            fit: How pictures become this size.
            targets: What the task wants to know of a sample and where its picture lies in the input; see `Loader`.
                Boxes and masks under their reserved keys follow the picture through augmentation.
            batch: Pictures a batch.
            recipe: How pictures are changed.
            seed: The run's; not negative.
            shuffle: Whether the order changes with the epoch.
            cache_bytes: The decoded, resized pictures are kept in memory when all of them take no more.
            keep_all_boxes: No box may be lost; see `Recipe.apply`.
            scales: Least and largest side of square batches in pixels: after every 10 batches a new size is drawn, a
                multiple of 32 (Redmon, Farhadi, "YOLO9000", 2016, section 2, "Multi-Scale Training"). Pictures are
                loaded at the largest one, whatever ``size`` is; None keeps ``size``.

        Raises:
            OptionError: There is no sample, or a number is out of range.
        """
        if not samples:
            raise OptionError("a stream needs samples, got none")
        for name, value, least in (("batch", batch, 1), ("seed", seed, 0), ("cache_bytes", cache_bytes, 0)):
            if value < least:
                raise OptionError(f"{name} must be at least {least}, got {value}")
        self.samples = tuple(samples)
        self._scales = scales
        size = size if scales is None else (scales[1], scales[1])
        self._loader = Loader(samples, size=size, channels=channels, fit=fit, targets=targets, cache_bytes=cache_bytes)
        self._batch = batch
        self._recipe = recipe
        self._seed = seed
        self._shuffle = shuffle
        self._keep_all = keep_all_boxes
        self._failures: dict[int, Exception] = {}
        # The batches of an epoch share them; two epochs may be read side by side.
        self._plan = functools.lru_cache(maxsize=2)(lambda number: (self.order(number), self._draws(number)))
        self.steps = -(-len(samples) // batch)

    def order(self, number: int) -> Array:
        """Return the order of an epoch: int64, the samples' numbers."""
        count = len(self._loader)
        if not self._shuffle:
            return np.arange(count)
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, number])))
        return generator.permutation(count)

    def sides(self, number: int) -> Array:
        """Return the side of each batch of an epoch in pixels, int64; empty where the size stays.

        Like the order it follows from the seed and the epoch's number alone, and a new size may come after 10 batches
        of the whole run: epochs of fewer batches share one.
        """
        if self._scales is None:
            return np.zeros(0, np.int64)
        low, high = (side // SCALE_STEP for side in self._scales)
        turns = (number * self.steps + np.arange(self.steps)) // _BATCHES_OF_A_SIZE
        drawn = {turn: np.random.Generator(np.random.Philox([self._seed, int(turn)])) for turn in np.unique(turns)}
        of_turn = {turn: int(generator.integers(low, high + 1)) for turn, generator in drawn.items()}
        return np.array([of_turn[turn] for turn in turns], np.int64) * SCALE_STEP

    def epoch(self, number: int) -> Any:
        """Return an epoch as a `tf.data.Dataset` of known length.

        What goes wrong while a picture is loaded reaches who iterates as an error of TensorFlow; `telling` turns
        it into the one that was raised.

        Args:
            number: The epoch's, from 0.

        Returns:
            Dataset of ``(images, targets)``: float32 ``(batch, height, width, channels)`` in [0, 255], and the
            task's arrays by key, boxes and masks where augmentation put them.

        Raises:
            PictureError: The first sample's picture, from which types and shapes are taken, cannot be read.
        """
        import tensorflow as tf

        load, augment, scale = self._graphs
        self._failures.clear()
        first = number * self.steps

        def mapped(dataset: Any, function: Callable[..., Any]) -> Any:
            return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

        dataset = mapped(mapped(tf.data.Dataset.range(first, first + self.steps), load), augment)
        if self._scales is not None:
            sides = tf.data.Dataset.from_tensor_slices(self.sides(number))
            dataset = mapped(tf.data.Dataset.zip(dataset, sides), scale)
        return dataset.prefetch(tf.data.AUTOTUNE)

    @functools.cached_property
    def _graphs(self) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
        """What TensorFlow does with a batch: load it by its number in the run, augment it, bring it to its own size.

        They are traced once, not once an epoch: that takes longer than an epoch of few small pictures.
        """
        import tensorflow as tf

        first = self._loader.load([0]) | {_DRAWS: self._plan(0)[1][:1]}
        signature = {key: (array.dtype, (None, *array.shape[1:])) for key, array in first.items()}

        def load(number: Any) -> dict[str, Any]:
            # Not stateful: under op determinism TensorFlow runs stateful functions one after the other.
            kinds = [kind for kind, _ in signature.values()]
            loaded = tf.numpy_function(self._load, [number], kinds, stateful=False)
            shaped = (tf.ensure_shape(each, shape) for each, (_, shape) in zip(loaded, signature.values(), strict=True))
            return dict(zip(signature, shaped, strict=True))

        # TensorFlow as it stands: AutoGraph has nothing to rewrite.
        load, augment, scale = (tf.function(each, autograph=False) for each in (load, self._augmented, self._scaled))
        return load, augment, scale

    def look(self, indices: Sequence[int], *, epoch: int | None) -> tuple[Array, dict[str, Array]]:
        """Return some samples as an epoch shows them, or unchanged where it is None: float32 images and targets.

        Raises:
            PictureError: A picture cannot be read.
        """
        batch = self._loader.load(indices)
        if epoch is None:
            return batch.pop(IMAGES).astype(np.float32), batch
        import tensorflow as tf

        with tf.device("CPU:0"):  # where tf.data works
            images, targets = self._augmented(batch | {_DRAWS: self._draws(epoch)[list(indices)]})
        return np.asarray(images), {key: np.asarray(value) for key, value in targets.items()}

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Within the block, raise what went wrong in loading as it was raised there, not as TensorFlow tells it."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError as error:
            if not self._failures:
                raise
            # Batches are loaded ahead and side by side, but come in order: the first one is what was met.
            raise self._failures[min(self._failures)] from error

    def _draws(self, number: int) -> Array:
        if self._recipe.changes:
            return self._recipe.draws(len(self._loader), seed=self._seed, epoch=number)
        return np.zeros((len(self._loader), 0), np.float32)

    def _load(self, number: Any) -> list[Array]:
        """Load the batch of a number in the whole run."""
        epoch, step = divmod(int(number), self.steps)
        order, draws = self._plan(epoch)
        indices = order[step * self._batch : (step + 1) * self._batch]
        try:
            return list((self._loader.load(indices) | {_DRAWS: draws[indices]}).values())
        except Exception as error:
            self._failures[int(number)] = error
            raise

    def _scaled(self, batch: tuple[Any, dict[str, Any]], side: Any) -> tuple[Any, dict[str, Any]]:
        """Bring a batch from the largest size to its own; its boxes move along."""
        import tensorflow as tf

        images, targets = batch
        largest = images.shape[1]
        side = tf.cast(side, tf.int32)
        images = tf.image.resize(images, (side, side), antialias=True)
        boxes = targets[BOXES] * (tf.cast(side, tf.float32) / largest)
        return tf.ensure_shape(images, (None, None, None, images.shape[3])), targets | {BOXES: boxes}

    def _augmented(self, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        targets = {key: value for key, value in batch.items() if key not in (IMAGES, _DRAWS)}
        images, boxes, masks = self._recipe.apply(
            batch[IMAGES],
            draws=batch[_DRAWS],
            boxes=targets.get(BOXES),
            masks=targets.get(MASK),
            keep_all=self._keep_all,
        )
        followed = {BOXES: boxes, MASK: masks}
        return images, targets | {key: value for key, value in followed.items() if value is not None}
