"""The answers of a session to labelled pictures, one after the other."""

from collections.abc import Callable, Iterator, Sequence

from edgecv.data.samples import Sample
from edgecv.errors import DataError, PictureError
from edgecv.evaluation.class_map import ClassMap
from edgecv.evaluation.classification import RANKS
from edgecv.pictures import Picture
from edgecv.results import Prediction
from edgecv.session import Session

__all__ = ["Answers"]


class Answers:
    """Runs the pictures of samples, a batch at a time, and keeps count.

    Attributes:
        session: The opened network.
        classes: From its classes to those of the data.
        skipped: Pictures left out so far.
        milliseconds: Time spent on answers so far.
    """

    def __init__(
        self,
        session: Session,
        samples: Sequence[Sample],
        classes: ClassMap,
        progress: Callable[[], None],
        skip_broken: bool,
    ) -> None:
        self.session = session
        self.classes = classes
        self.skipped = 0
        self.milliseconds = 0.0
        self._samples = samples
        self._progress = progress
        self._skip_broken = skip_broken

    def __iter__(self) -> Iterator[tuple[Sample, Prediction]]:
        """Yield each sample with its answer, in order.

        Raises:
            PictureError: A picture cannot be read and is not to be skipped.
            DataError: None can be read.
        """
        waiting: list[tuple[Sample, Picture]] = []
        for sample in self._samples:
            picture = self._read(sample)
            if picture is None:
                self._progress()
                continue
            waiting.append((sample, picture))
            if len(waiting) == self.session.batch_size:
                yield from self._answer(waiting)
                waiting.clear()
        yield from self._answer(waiting)
        if self.skipped == len(self._samples):
            raise DataError(f"None of the {self.skipped} pictures can be read. Give data with some that can.")

    def _read(self, sample: Sample) -> Picture | None:
        try:
            return sample.picture.read()
        except PictureError:
            if not self._skip_broken:
                raise
            self.skipped += 1
            return None

    def _answer(self, waiting: Sequence[tuple[Sample, Picture]]) -> Iterator[tuple[Sample, Prediction]]:
        predictions = self.session.predict_pictures([picture for _, picture in waiting], top_k=RANKS)
        for (sample, _), prediction in zip(waiting, predictions, strict=True):
            self.milliseconds += prediction.milliseconds
            self._progress()
            yield sample, prediction
