"""``edgecv predict``: answers for pictures, videos and cameras."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecv.cli.common import device_option, json_option, threads_option
from edgecv.errors import OptionError, PictureError

if TYPE_CHECKING:
    from edgecv.cli.annotate import Gallery
    from edgecv.cli.answering import Answering
    from edgecv.streaming.sources import Source

__all__ = ["predict"]


_SAVE = (
    "Write the pictures with the answers, a segmenter's masks beside them as NAME.mask.png (class numbers, 255 where "
    "it saw nothing), and videos as NAME.mp4."
)
_LINES = "Print one line of JSON a picture or frame, at once."
# What opening the artifact on several cores is worth: a video has many pictures, a camera one at a time.
_PICTURES = {"picture": 1, "video": 1_000_000, "camera": 1}


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@json_option
@click.option("--jsonl", "as_lines", is_flag=True, help=_LINES)
@click.option("--save", metavar="DIR", type=click.Path(path_type=Path), help=_SAVE)
@click.option(
    "--every", type=click.IntRange(min=1), default=1, metavar="N", help="Of videos and cameras, every Nth frame."
)
@device_option
@threads_option
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Classes to give, best first.")
@click.option("--score-threshold", type=float, metavar="0…1", help="Detection: in place of the baked one.")
@click.option("--iou-threshold", type=float, metavar="0…1", help="Detection: in place of the baked one.")
@click.option("--no-check", is_flag=True, help="Run an artifact whose digest disagrees, too.")
def predict(
    artifact: Path,
    sources: tuple[str, ...],
    as_json: bool,
    as_lines: bool,
    save: Path | None,
    every: int,
    device: str,
    threads: int | None,
    top_k: int,
    score_threshold: float | None,
    iou_threshold: float | None,
    no_check: bool,
) -> None:
    """Run ARTIFACT on pictures, folders, globs, videos or cameras (camera:0).

    A source that cannot be read is named with the reason, the others are answered, and the exit is 2. A camera is
    answered until ctrl-C; of frames that come meanwhile, only the newest is kept.
    """
    from edgecv.cli.answering import Answering
    from edgecv.quiet import quiet_frameworks
    from edgecv.session import runtime_of
    from edgecv.side_by_side import open_sessions
    from edgecv.streaming.sources import find_sources

    runtime_of(artifact)  # a wrong artifact is the first thing to say
    found = find_sources(sources)
    _check_form(found, as_json=as_json, as_lines=as_lines)
    with quiet_frameworks():
        sessions = open_sessions(
            artifact,
            pictures=sum(_PICTURES[source.kind] for source in found),
            device=device,
            threads=threads,
            check=not no_check,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
        )
    gallery = _gallery(save, found)  # after all that can be refused: then nothing is written
    answering = Answering(sessions=sessions, top_k=top_k, every=every, gallery=gallery)
    _answer(answering, found, as_json=as_json, as_lines=as_lines)


def _check_form(sources: "Sequence[Source]", *, as_json: bool, as_lines: bool) -> None:
    if as_json and as_lines:
        raise OptionError("--json and --jsonl exclude each other. Choose one.")
    camera = next((source.name for source in sources if source.kind == "camera"), None)
    if as_json and camera is not None:
        raise OptionError(f"--json prints one document at the end, which {camera!r} has not. Use --jsonl.")


def _answer(answering: "Answering", sources: "Sequence[Source]", *, as_json: bool, as_lines: bool) -> None:
    from edgecv.cli.answer_printing import JsonDocument, print_json_line, print_lines

    document = JsonDocument()
    show = document.add if as_json else print_json_line if as_lines else print_lines
    failed: list[str] = []
    answered = 0
    # Closed whatever happens here: what is being written is finished, or taken away.
    with _ended_in_order(), contextlib.closing(answering.answers(sources)) as answers:
        for answer in answers:
            if "error" in answer:
                failed.append(answer["error"])
                if len(sources) == 1 and not answered:
                    raise PictureError(failed[0])
            answered += 1
            show(answer)
    if as_json:
        document.emit()
    if failed:
        raise PictureError(_failure(sources, failed))


class _TerminatedError(BaseException):
    """A service manager, or whoever sends SIGTERM, wants an end."""


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let SIGTERM end the block as ctrl-C does, a camera's video finished and temporaries removed; then the process."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return

    def end(*_: object) -> None:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _TerminatedError:
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def _failure(sources: "Sequence[Source]", failed: Sequence[str]) -> str:
    if len(sources) == 1:
        return failed[0]
    if all(source.kind == "picture" for source in sources):
        return f"{len(failed)} of {len(sources)} pictures have no answer. {failed[0]}"
    return f"{len(failed)} of {len(sources)} sources have no answer, or not to their end. {failed[0]}"


def _gallery(folder: Path | None, sources: "Sequence[Source]") -> "Gallery | None":
    if folder is None:
        return None
    from edgecv.cli.annotate import Gallery

    _make_folder(folder, [source.name for source in sources if source.kind != "camera"])
    return Gallery(folder)


def _make_folder(folder: Path, sources: list[str]) -> None:
    from edgecv.errors import OutputError

    # Path.resolve would raise on a symbolic link that leads to itself.
    if any(os.path.dirname(os.path.realpath(source)) == os.path.realpath(folder) for source in sources):  # noqa: PTH120
        raise OptionError(
            f"--save {str(folder)!r} holds the sources, which must not be overwritten. Name another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = error.strerror or error
        raise OutputError(f"Cannot write to {str(folder)!r}: {problem}. Name another folder with --save.") from error
