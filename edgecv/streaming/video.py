"""Frames of video files and of cameras, by PyAV: FFmpeg's libraries, which are in its wheel."""

import contextlib
import errno
import math
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgecv.errors import VideoError, one_line
from edgecv.pictures import Picture
from edgecv.streaming.sources import Frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["CameraFrames", "VideoFrames"]

# Of FFmpeg's readers those of files that hold all they show: a playlist could lead to any file of this machine.
_CONTAINERS = "3g2,3gp,asf,avi,flv,m4a,matroska,mj2,mov,mp4,mpeg,mpegts,mpegvideo,ogg,webm"
# Seconds to open a camera, and to wait for its next frame.
_CAMERA_PATIENCE = (10.0, 10.0)
# A video that ends so many seconds before its own length was cut off.
_MISSING_SECONDS = 1.0


class VideoFrames:
    """The frames of a video file, turned upright; a damaged one gives those that decode."""

    live = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._total: int | None = None
        self._rate: Fraction | None = None

    def total(self) -> int | None:
        """Return how many frames the file says it has."""
        return self._total

    def rate(self) -> Fraction | None:
        """Return how many frames a second the file says it has, on average."""
        return self._rate

    def frames(self, every: int) -> Generator[Frame, None, None]:
        """Yield every so many-th frame.

        Raises:
            VideoError: The file cannot be opened, has no frame, or not all of it decodes.
        """
        with _opened_file(self.name) as container:
            stream = _video_stream(self.name, container)
            stream.thread_type = "AUTO"
            self._total = stream.frames or None
            self._rate = stream.average_rate
            decoded = _Decoded(container, stream)
            begin = None if container.start_time is None else container.start_time / 1_000_000
            # AVI says when frames are stored, not when they are shown: the same times, in another order.
            stored = container.format.name == "avi"
            for number, frame in enumerate(decoded.frames()):
                time = decoded.next_stored() if stored else _time(frame)
                begin = time if begin is None or (stored and number == 0) else begin
                if number % every == 0:
                    yield _frame(frame, number, time - begin, self.name)
            problem = decoded.problem()
        if decoded.count == 0 and problem is None:
            raise _empty(self.name)
        if problem is not None:
            raise VideoError(f"Video {self.name!r} is damaged: {problem}. Copy or record it again.")


class CameraFrames:
    """The frames of a camera of this machine, by Video4Linux."""

    live = True

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self._number = number
        self._rate: Fraction | None = None

    def total(self) -> int | None:
        """Return None: it goes on until somebody ends it."""
        return None

    def rate(self) -> Fraction | None:
        """Return how many frames a second the camera says it gives."""
        return self._rate

    def frames(self, every: int) -> Generator[Frame, None, None]:
        """Yield every so many-th frame, without end.

        Raises:
            VideoError: There is no such camera, it may not be used, or it is pulled.
        """
        with _opened_camera(self.name, self._number) as container:
            stream = _video_stream(self.name, container)
            self._rate = stream.average_rate
            decoded = _Decoded(container, stream)
            begin: float | None = None
            for number, frame in enumerate(decoded.frames()):
                begin = _time(frame) if begin is None else begin
                if number % every == 0:
                    yield _frame(frame, number, _time(frame) - begin, self.name)
            reason = decoded.stopped or "it gives no more frames"
        raise VideoError(f"Camera {self.name!r} is gone: {reason}. Plug it in again.")


class _Decoded:
    """What decodes of a stream, and what does not.

    Attributes:
        count: Frames that decoded.
        stopped: Why the file could not be read to its end; None where it could.
    """

    def __init__(self, container: "InputContainer", stream: "VideoStream") -> None:
        self._container = container
        self._stream = stream
        self._broken = 0
        self._end = 0.0
        # No decoder holds back so many frames.
        self._stored: deque[float] = deque([0.0], maxlen=256)
        self.count = 0
        self.stopped: str | None = None

    def frames(self) -> Iterator["VideoFrame"]:
        """Yield the frames; a packet that does not decode costs its own alone."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self.stopped = _problem(error)
                return
            if packet is None:
                return
            if packet.pts is not None and packet.time_base is not None:
                self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.size and packet.dts is not None and packet.time_base is not None:
                self._stored.append(float(packet.dts * packet.time_base))
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._broken += 1
                continue
            for frame in frames:
                self.count += 1
                # Decoders fill in what is missing, and say so.
                self._broken += bool(frame.is_corrupt)
                yield frame

    def next_stored(self) -> float:
        """Return when the next packet was to be decoded, in seconds; called once a frame."""
        if len(self._stored) > 1:
            self._stored.popleft()
        return self._stored[0]

    def problem(self) -> str | None:
        """Say what of the file is missing; None where it is whole."""
        if self.stopped is not None:
            return self.stopped
        length = _length(self._stream)
        if length is not None and length - self._end > _MISSING_SECONDS:
            return f"it ends after {self._end:.1f} of {length:.1f} seconds"
        if self._broken:
            return f"{self._broken} of its frames do not decode, or not whole"
        return None


def _empty(name: str) -> VideoError:
    return VideoError(f"Video {name!r} has no frame. Record it again.")


@contextlib.contextmanager
def _opened_file(name: str) -> "Iterator[InputContainer]":
    import av

    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        if not Path(name).is_file():
            problem = "is not a file" if Path(name).exists() else "does not exist"
            raise VideoError(f"Video {name!r} {problem}. Name a video, a picture, a folder or a glob.")
        # With the protocol said, a name such as pipe:0 is a name.
        container = av.open(f"file:{name}", options=options)
    except EOFError as error:
        raise _empty(name) from error
    except OSError as error:
        raise VideoError(f"Video {name!r} cannot be read: {_problem(error)}. Name another one.") from error
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(
            f"Video {name!r} is damaged or no video that edgecv reads: {_problem(error)}. Use MP4, MKV, WebM or AVI."
        ) from error
    with container:
        yield container


@contextlib.contextmanager
def _opened_camera(name: str, number: int) -> "Iterator[InputContainer]":
    import av

    device = Path(f"/dev/video{number}")
    try:
        container = av.open(str(device), format="v4l2", timeout=_CAMERA_PATIENCE)
    except FileNotFoundError as error:
        there = ", ".join(f"camera:{each}" for each in _cameras()) or "none"
        raise VideoError(f"Camera {name!r} does not exist: there is no {device}. Cameras here: {there}.") from error
    except PermissionError as error:
        raise VideoError(f"Camera {name!r} may not be used. Add your user to the group that owns {device}.") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        remedy = "End the program that uses it." if getattr(error, "errno", None) == errno.EBUSY else "Try another one."
        raise VideoError(f"Camera {name!r} cannot be opened: {_problem(error)}. {remedy}") from error
    with container:
        yield container


def _cameras() -> list[int]:
    numbers = (path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def _video_stream(name: str, container: "InputContainer") -> "VideoStream":
    """Return the stream to show: the first that is no cover of an album."""
    import av

    covers = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams and not container.streams.audio:
        raise _empty(name)
    if not streams:
        raise VideoError(f"Video {name!r} holds only sound. Name one with pictures.")
    return streams[0]


def _length(stream: "VideoStream") -> float | None:
    """Return the seconds at which a stream says that it ends; None where only its container, sound and all, does."""
    if stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    try:  # Matroska's
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        length = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except (KeyError, ValueError):
        return None
    return length if math.isfinite(length) else None


def _time(frame: "VideoFrame") -> float:
    return float(frame.time or 0.0)


def _frame(frame: "VideoFrame", number: int, seconds: float, name: str) -> Frame:
    return Frame(Picture(_upright(frame.to_ndarray(format="rgb24"), _turn_of(frame)), name), number, round(seconds, 6))


def _turn_of(frame: "VideoFrame") -> tuple[int, int, int, int]:
    """Return the signs of the display matrix's a, b, c, d: a pixel at (x, y) is shown at (ax + cy, bx + dy)."""
    # A mapping by its type, it gives the data themselves.
    for data in cast("Iterator[Any]", iter(frame.side_data)):
        if data.type.name == "DISPLAYMATRIX" and data.buffer_size >= 20:
            a, b, _, c, d = np.frombuffer(bytes(data)[:20], np.int32).tolist()
            # Phones turn by quarters; of what lies between, the nearest.
            if abs(a) + abs(d) >= abs(b) + abs(c):
                b = c = 0
            else:
                a = d = 0
            return _sign(a), _sign(b), _sign(c), _sign(d)
    return 1, 0, 0, 1


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _upright(pixels: np.ndarray[Any, Any], turn: tuple[int, int, int, int]) -> np.ndarray[Any, Any]:
    a, b, c, d = turn
    if (b, c) != (0, 0):
        pixels = pixels.transpose(1, 0, 2)
        a, d = c, b  # along the new axes
    if a < 0:
        pixels = pixels[:, ::-1]
    if d < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _problem(error: BaseException) -> str:
    """Return what FFmpeg or the system says, without the number and the name that the message has already."""
    said = getattr(error, "strerror", None)
    return str(said).rstrip(".") if said else one_line(error)
