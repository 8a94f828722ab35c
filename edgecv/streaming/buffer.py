"""What lies between the thread that reads frames and the one that answers them."""

import threading
from collections import deque

from edgecv.errors import VideoError
from edgecv.streaming.sources import Frame

__all__ = ["FrameBuffer"]


class FrameBuffer:
    """A few frames that are read and not yet answered.

    Of a video, the reader waits for room. Of a camera, the newest frame takes the place of the one that waits: who
    answers slowly always gets what is there now, and neither memory nor delay grows.
    """

    def __init__(self, name: str, *, live: bool, room: int = 4, patience: float = 10.0) -> None:
        """Make an empty buffer.

        Args:
            name: The source, for messages.
            live: Whether it is a camera.
            room: Frames of a video that wait at most; of a camera, one does.
            patience: Seconds without a frame after which a camera is said to be gone.
        """
        self._name = name
        self._live = live
        self._room = 1 if live else room
        self._patience = patience if live else None
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many frames of a camera were replaced before anybody took them."""
        return self._dropped

    def put(self, frame: Frame) -> bool:
        """Add a frame; wait for room, or drop what waits. Tell whether more are wanted."""
        with self._changed:
            if self._live and self._frames:
                self._frames.clear()
                self._dropped += 1
            while len(self._frames) >= self._room and not self._stopped:
                self._changed.wait()
            if self._stopped:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """Say that no more frames come, and why; who asks for more gets the error after the frames."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Say that no more frames are wanted."""
        with self._changed:
            self._stopped = True
            self._frames.clear()
            self._changed.notify_all()

    def __iter__(self) -> "FrameBuffer":
        return self

    def __next__(self) -> Frame:
        """Return the next frame; wait for it.

        Raises:
            VideoError: A camera has gone silent; also whatever ended the reading.
        """
        with self._changed:
            there = self._changed.wait_for(lambda: self._frames or self._ended or self._stopped, self._patience)
            if not there:
                raise VideoError(
                    f"Camera {self._name!r} has given no frame for {self._patience:g} seconds. Plug it in again."
                )
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            raise StopIteration
