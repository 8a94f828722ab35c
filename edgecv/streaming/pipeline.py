"""Frames and their answers: while one is answered, the next is read.

One thread reads into a `FrameBuffer`, others answer, and who iterates gets the answers in the order of the frames.
"""

import contextlib
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence

from edgecv.data.threads import in_threads
from edgecv.results import Prediction
from edgecv.session import Session
from edgecv.streaming.buffer import FrameBuffer
from edgecv.streaming.sources import Frame, FrameSource

__all__ = ["FrameStream"]

# A reader that hangs in a driver is left behind after so many seconds.
_LEAVE_AFTER = 2.0
# Frames a second are told over so many seconds.
_WINDOW = 2.0


class FrameStream:
    """The frames of a video or camera with their answers, in order.

    Attributes:
        answered: How many frames were answered.
    """

    def __init__(
        self,
        source: FrameSource,
        sessions: Sequence[Session],
        *,
        every: int = 1,
        top_k: int = 5,
        patience: float = 10.0,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            source: Gives the frames.
            sessions: Of `side_by_side.open_sessions`; each answers one frame at a time. For a camera one is enough.
            every: Answer every so many-th frame.
            top_k: Classification: how many of the best classes to give.
            patience: Seconds without a frame after which a camera is said to be gone.
        """
        self._source = source
        self._sessions = sessions[:1] if source.live else sessions
        self._every = every
        self._top_k = top_k
        self._buffer = FrameBuffer(source.name, live=source.live, patience=patience)
        self._begin: float | None = None
        self._times: deque[float] = deque()
        self.answered = 0

    @property
    def dropped(self) -> int:
        """How many frames of a camera came while others were answered, and were left out."""
        return self._buffer.dropped

    @property
    def seconds(self) -> float:
        """How long it has been answering."""
        return 0.0 if self._begin is None else time.perf_counter() - self._begin

    def rate(self) -> float:
        """Return how many frames a second are answered now."""
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(1e-9, self._times[-1] - self._times[0])

    def answers(self) -> Generator[tuple[Frame, Prediction], None, None]:
        """Yield the frames with their answers; called once.

        Raises:
            VideoError: The video is damaged or the camera is gone; all that came before is answered.
            ArtifactError: The artifact answers with what is no number.
        """
        reader = threading.Thread(target=self._read, name="edgecv-reader", daemon=True)
        reader.start()
        self._begin = time.perf_counter()
        try:
            for frame, prediction in self._answers():
                self._count()
                yield frame, prediction
        finally:
            self._buffer.stop()
            reader.join(_LEAVE_AFTER)

    def _read(self) -> None:
        try:
            with contextlib.closing(self._source.frames(self._every)) as frames:
                for frame in frames:
                    if not self._buffer.put(frame):
                        break
            self._buffer.end()
        except BaseException as error:  # it belongs to the thread that asks for frames
            self._buffer.end(error)

    def _answers(self) -> Iterator[tuple[Frame, Prediction]]:
        free: queue.SimpleQueue[Session] = queue.SimpleQueue()
        for session in self._sessions:
            free.put(session)

        def answer(frames: list[Frame]) -> list[tuple[Frame, Prediction]]:
            session = free.get()
            try:
                predictions = session.predict_pictures([frame.picture for frame in frames], top_k=self._top_k)
            finally:
                free.put(session)
            return list(zip(frames, predictions, strict=True))

        workers = len(self._sessions)
        # A camera's frame is answered before the next is taken: taken early, it would be old when its turn comes.
        ahead = 1 if self._source.live else workers + 1
        batches = _Batches(self._buffer, 1 if self._source.live else self._sessions[0].batch_size)
        for batch in in_threads(answer, batches, workers=workers, ahead=ahead):
            yield from batch
        if batches.error is not None:  # only now: what came before it is answered
            raise batches.error

    def _count(self) -> None:
        self.answered += 1
        now = time.perf_counter()
        self._times.append(now)
        while len(self._times) > 2 and now - self._times[0] > _WINDOW:
            self._times.popleft()


class _Batches:
    """Lists of frames, the last one shorter.

    Attributes:
        error: What ended the frames, where it was not their end.
    """

    def __init__(self, frames: Iterator[Frame], size: int) -> None:
        self._frames = frames
        self._size = size
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[list[Frame]]:
        while self.error is None:
            batch = list(itertools.islice(self._until_error(), self._size))
            if not batch:
                return
            yield batch

    def _until_error(self) -> Iterator[Frame]:
        try:
            yield from self._frames
        except Exception as error:
            self.error = error
