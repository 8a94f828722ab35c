"""Annotated videos: drawn and encoded in a thread of their own, while the next frames are answered."""

import queue
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from edgecv.errors import EdgecvError, OutputError, one_line
from edgecv.files import replace_whole
from edgecv.results import Prediction
from edgecv.streaming.sources import Frame

if TYPE_CHECKING:
    from av.video.stream import VideoStream

__all__ = ["Recorder"]

Draw = Callable[[Frame, Prediction], Image.Image]

# Frames that wait to be drawn.
_ROOM = 4
# Seconds are told apart as finely as players do.
_TICKS = 90_000
_ENCODERS = ("libx264", "libopenh264", "mpeg4")
_QUICK = {"preset": "veryfast"}
_UNKNOWN_RATE = Fraction(30)


class _Abandoned(Exception):  # noqa: N818 - it is no error: it ends the block that would rename the file
    """The video is not wanted any more."""


class Recorder:
    """Writes frames with their answers as a video, which appears under its name when the block ends.

    The video keeps the times of the frames, also where some are left out. Frames have the size of the first one, made
    even, as H.264 wants it.

    Attributes:
        path: The video.
        written: How many frames are in it.
    """

    def __init__(
        self,
        path: Path,
        draw: Draw,
        *,
        rate: Callable[[], Fraction | None] = lambda: None,
        keep_after: tuple[type[BaseException], ...] = (),
    ) -> None:
        """Prepare; the file is begun at the first frame.

        Args:
            path: The video, an MP4.
            draw: Returns what is shown of a frame and its answers.
            rate: Returns the frames a second, once there are any; it decides nothing but how they are encoded.
            keep_after: What may end the block with the video written all the same.
        """
        self.path = path
        self._draw = draw
        self._rate = rate
        self._keep_after = keep_after
        self._waiting: queue.Queue[tuple[Frame, Prediction] | None] = queue.Queue(_ROOM)
        self._thread = threading.Thread(target=self._work, name="edgecv-recorder", daemon=True)
        self._abandoned = threading.Event()
        self._error: BaseException | None = None
        self._ended = False
        self.written = 0

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, self._keep_after):
            self._abandoned.set()
        try:
            self._waiting.put(None)
            self._thread.join()
        except BaseException:  # interrupted once more: at once, then
            self._abandoned.set()
            self._thread.join(1.0)
            raise
        if kind is None:
            self._check()

    def add(self, frame: Frame, prediction: Prediction) -> None:
        """Hand a frame over; wait where several wait already.

        Raises:
            OutputError: An earlier one could not be written.
        """
        self._check()
        self._waiting.put((frame, prediction))

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            first = self._next()
            if first is not None:
                self._write(first)
        except _Abandoned:
            pass
        except BaseException as error:  # it belongs to the thread that adds frames
            self._error = error
        while not self._ended:  # nobody shall wait for room
            self._next()

    def _next(self) -> tuple[Frame, Prediction] | None:
        item = self._waiting.get()
        self._ended = item is None
        return item

    def _write(self, first: tuple[Frame, Prediction]) -> None:
        with replace_whole(self.path) as temporary:
            try:
                self._encode(temporary, first)
            except (OSError, EdgecvError):
                raise
            except Exception as error:  # FFmpeg's, of many types
                raise OutputError(f"Cannot write {str(self.path)!r}: {one_line(error)}.") from error
            if self._abandoned.is_set():
                raise _Abandoned

    def _encode(self, path: Path, first: tuple[Frame, Prediction]) -> None:
        item: tuple[Frame, Prediction] | None = first
        with _VideoFile(path, self._rate() or _UNKNOWN_RATE) as video:
            while item is not None:
                if not self._abandoned.is_set():
                    video.add(self._draw(*item), item[0].seconds)
                    self.written += 1
                item = self._next()


class _VideoFile:
    """An MP4 file that pictures are encoded into."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        import av

        self._container = av.open(f"file:{path}", "w", format="mp4")
        name = next(name for name in _ENCODERS if name in av.codecs_available)
        options = _QUICK if name == "libx264" else {}
        stream = self._container.add_stream(name, rate=rate.limit_denominator(1001), options=options)
        self._stream = cast("VideoStream", stream)
        self._stream.pix_fmt = "yuv420p"
        self._size: tuple[int, int] | None = None
        self._last = -1

    def __enter__(self) -> "_VideoFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._size is not None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def add(self, image: Image.Image, seconds: float) -> None:
        """Encode a picture that is shown from ``seconds`` on."""
        import av

        if self._size is None:
            self._begin(image)
        if image.size != self._size:  # a stream that changes its size goes on in the size it began with
            image = image.resize(self._size or image.size)
        frame = av.VideoFrame.from_ndarray(_even(np.asarray(image)), format="rgb24")
        # Times that do not grow, which damaged videos have, are no video.
        self._last = max(self._last + 1, round(seconds * _TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def _begin(self, image: Image.Image) -> None:
        self._size = image.size
        self._stream.width, self._stream.height = (side + side % 2 for side in image.size)
        self._stream.codec_context.time_base = Fraction(1, _TICKS)


def _even(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Repeat the last row or column where their number is odd: colours are stored for two by two pixels."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels)
