"""What the SOURCEs of ``edgecv predict`` are: pictures, videos, cameras; and the frames that the latter give."""

import glob
import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

from edgecv.errors import OptionError
from edgecv.extras import require
from edgecv.pictures import Picture, find_pictures

__all__ = ["VIDEO_SUFFIXES", "Frame", "FrameSource", "Source", "find_sources", "open_frames"]

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split()  # noqa: SIM905
)
_CAMERA = re.compile(r"camera:(\d{1,4})")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A picture, a video or a camera.

    Attributes:
        name: As the user named it, or as a folder or glob gave it.
        kind: What it is.
    """

    name: str
    kind: Literal["picture", "video", "camera"]


@dataclass(frozen=True)
class Frame:
    """A frame of a video or camera.

    Attributes:
        picture: What it shows, upright.
        number: How many frames the source gave before it, those that nobody wanted included.
        seconds: When it is shown, from the beginning of the video or from the camera's first frame.
    """

    picture: Picture
    number: int
    seconds: float


class FrameSource(Protocol):
    """Gives frames: a video, a camera, or whatever a test makes up.

    Attributes:
        name: As the user named it.
        live: Frames come when they come; who is too slow for them misses some.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def live(self) -> bool: ...  # noqa: D102

    def frames(self, every: int) -> Generator[Frame, None, None]:
        """Yield every so many-th frame, the first one included, in order of time; called once.

        Raises:
            VideoError: It cannot be opened, is damaged, or a camera is gone.
        """
        ...

    def total(self) -> int | None:
        """Return how many frames there are, once the first was given; None where that is not known."""
        ...

    def rate(self) -> Fraction | None:
        """Return how many frames a second there are, once the first was given; None where that is not known."""
        ...


def find_sources(names: Iterable[str | Path]) -> list[Source]:
    """Return what files, folders, globs and ``camera:N`` name, in that order.

    A folder gives its pictures, a glob all that it matches; what a file is, its suffix says.

    Raises:
        PictureError: A folder holds no picture, or a glob matches nothing.
        OptionError: A camera has no number, or a source is an address.
        MissingExtraError: There is a video or camera, and what reads them is not installed.
    """
    sources = [source for name in names for source in _sources_of(str(name))]
    if any(source.kind != "picture" for source in sources):
        require("av", extra="video", purpose="Reading videos and cameras")
    return sources


def open_frames(source: Source) -> FrameSource:
    """Return what gives the frames of a video or camera; it is opened when the first is asked for."""
    from edgecv.streaming.video import CameraFrames, VideoFrames

    if source.kind == "camera":
        return CameraFrames(source.name, int(source.name.partition(":")[2]))
    return VideoFrames(source.name)


def _sources_of(name: str) -> list[Source]:
    if name.partition(":")[0].lower() == "camera" and ":" in name:
        if not _CAMERA.fullmatch(name):
            raise OptionError(f"{name!r} is no camera. Give its number, as in camera:0 for /dev/video0.")
        return [Source(name, "camera")]
    if _URL.fullmatch(name):
        raise OptionError(
            f"{name!r} is an address. Name a picture, folder, glob or video on this machine, or camera:0."
        )
    if _is_video(name) and not glob.has_magic(name) and not _is_folder(name):
        return [Source(name, "video")]  # also one that is not there: opening it says so
    return [Source(each, "video" if _is_video(each) else "picture") for each in find_pictures([name])]


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:  # behind a folder that may not be entered, or a name that is too long
        return False
