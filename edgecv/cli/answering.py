"""Answers of ``predict``, one dict each, source by source: pictures, and the frames of videos and cameras."""

import contextlib
import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.cli.common import progress, say, status
from edgecv.errors import PictureError, VideoError
from edgecv.pictures import Picture
from edgecv.printable import on_one_line
from edgecv.results import Prediction
from edgecv.session import Session
from edgecv.side_by_side import answer_all
from edgecv.streaming.sources import Frame, FrameSource, Source, open_frames

# What few pictures need is imported where it is needed: a process is to answer soon.
if TYPE_CHECKING:
    from edgecv.cli.annotate import Gallery
    from edgecv.streaming.pipeline import FrameStream
    from edgecv.streaming.recorder import Recorder

__all__ = ["Answering"]

Answer = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Answers sources.

    Attributes:
        sessions: Of `side_by_side.open_sessions`.
        top_k: Classification: how many of the best classes to give.
        every: Of videos and cameras, every so many-th frame is answered.
        gallery: Where to write what was answered, drawn; None for nowhere.
    """

    sessions: Sequence[Session]
    top_k: int
    every: int = 1
    gallery: "Gallery | None" = None

    def answers(self, sources: Sequence[Source]) -> Generator[Answer, None, None]:
        """Yield the answers in the order of the sources; one that fails gives ``{"source", "error"}`` at its end."""
        for pictures, group in itertools.groupby(sources, lambda source: source.kind == "picture"):
            if pictures:
                yield from self._pictures([source.name for source in group])
                continue
            for source in group:
                try:
                    yield from self._frames(open_frames(source))
                except VideoError as error:
                    yield {"source": source.name, "error": str(error)}

    def _pictures(self, sources: list[str]) -> Iterator[Answer]:
        answered: dict[int, Answer] = {}
        wanted = 0
        with progress("Predicting", len(sources)) as step:
            for place, picture, prediction in answer_all(self.sessions, sources, top_k=self.top_k):
                if prediction is None or isinstance(picture, PictureError):
                    answered[place] = {"source": sources[place], "error": str(picture)}
                else:
                    saved = {} if self.gallery is None else self.gallery.add(picture, prediction)
                    answered[place] = {**_described(picture, prediction), **saved}
                step()
                while wanted in answered:  # a picture that cannot be read overtakes those of its batch
                    yield answered.pop(wanted)
                    wanted += 1

    def _frames(self, source: FrameSource) -> Iterator[Answer]:
        from edgecv.streaming.pipeline import FrameStream

        stream = FrameStream(source, self.sessions, every=self.every, top_k=self.top_k)
        path = None if self.gallery is None else self.gallery.video(source.name)
        try:
            with contextlib.closing(self._answered(source, stream, path)) as answers:
                yield from answers
        finally:
            if stream.answered:  # otherwise the error says it all
                say(_summary(source, stream, path))

    def _answered(self, source: FrameSource, stream: "FrameStream", path: Path | None) -> Generator[Answer, None, None]:
        with contextlib.ExitStack() as stack:
            recorder = None if path is None else stack.enter_context(_recorder(source, path))
            show = stack.enter_context(status(source.name))
            frames = stack.enter_context(contextlib.closing(stream.answers()))
            for frame, prediction in frames:
                if recorder is not None:
                    recorder.add(frame, prediction)
                show(_progress(source, stream, frame))
                when = {"frame": frame.number, "seconds": frame.seconds}
                answer = _described(frame.picture, prediction)
                yield {"source": answer.pop("source"), **when, **answer}


def _recorder(source: FrameSource, path: Path) -> "Recorder":
    from edgecv.cli.annotate import annotate_frame
    from edgecv.streaming.recorder import Recorder

    # A camera is ended by whoever has seen enough: what it showed is all of it. Half of a video is no video, unless
    # there is no more of it.
    keep_after = (BaseException,) if source.live else (VideoError,)

    def draw(frame: Frame, prediction: Prediction) -> Any:
        return annotate_frame(frame.picture, prediction)

    return Recorder(path, draw, rate=source.rate, keep_after=keep_after)


def _described(picture: Picture, prediction: Prediction) -> Answer:
    return {
        "source": picture.source,
        "width": picture.width,
        "height": picture.height,
        "milliseconds": prediction.milliseconds,
        "results": prediction.results,
    }


def _progress(source: FrameSource, stream: "FrameStream", frame: Frame) -> str:
    total = source.total()
    of = "" if total is None else f" of {total:,}"
    dropped = f", {stream.dropped:,} dropped" if source.live else ""
    return f"{on_one_line(source.name)}  frame {frame.number + 1:,}{of}  {stream.rate():.1f} frames/s{dropped}"


def _summary(source: FrameSource, stream: "FrameStream", path: Path | None) -> str:
    speed = f", {stream.answered / stream.seconds:.1f} a second"
    dropped = f", {stream.dropped:,} dropped" if source.live else ""
    saved = f"  -> {on_one_line(str(path))}" if path is not None and path.exists() else ""
    return f"{on_one_line(source.name)}: {stream.answered:,} frames answered{dropped}{speed}{saved}"
