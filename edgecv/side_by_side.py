"""Many pictures: read ahead of the artifact that answers them, or answered by several openings of it side by side.

Each answer is that of `Session.predict_pictures` on its picture alone. What several openings cost is memory, so
there are few, fewer still where an engine cannot share its weights between them.
"""

import queue
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgecv.data.threads import in_threads
from edgecv.errors import PictureError
from edgecv.machine import cores
from edgecv.pictures import Picture, read_picture
from edgecv.results import Prediction
from edgecv.runtimes.container import size_of
from edgecv.session import Session, load, open_unchecked, runtime_of

__all__ = ["Answer", "answer_all", "open_sessions"]

# The place of the source, its picture or why it has none, and what the artifact says of it.
Answer = tuple[int, Picture | PictureError, Prediction | None]

_MOST_SESSIONS = 4
# Opening once more takes as long as some answers do.
_PICTURES_A_SESSION = 16
# Bytes of weights that further openings may copy.
_MOST_COPIED = 2**28
# Pictures that are read before they are asked for; each may have a hundred megabytes.
_AHEAD = 2


def open_sessions(
    path: Path, *, pictures: int, device: str = "cpu", threads: int | None = None, **settings: Any
) -> list[Session]:
    """Open an artifact as often as serves ``pictures``: more than once on several cores, left to edgecv to share.

    Args:
        path: The artifact.
        pictures: How many there will be.
        device: ``"cpu"`` or ``"cuda"``.
        threads: Threads within an operator; by default the cores are shared between the openings.
        **settings: As for `session.load`, which tells what can be wrong, too.

    Returns:
        The sessions, possibly one and the same several times: `answer_all` uses each for one picture at a time.
    """
    count = _useful(path, pictures) if device == "cpu" and threads is None else 1
    if count == 1:
        return [load(path, device=device, threads=threads, **settings)]
    threads = max(1, cores() // count)
    first = load(path, device=device, threads=threads, **settings)
    if getattr(first.runner, "shareable", False):
        return [first] * count
    if size_of(path) * (count - 1) > _MOST_COPIED:
        return [open_unchecked(path, device=device, **_unchecked(settings))]
    others = [open_unchecked(path, device=device, threads=threads, **_unchecked(settings)) for _ in range(count - 1)]
    return [first, *others]


def _unchecked(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "check"}


def answer_all(sessions: Sequence[Session], sources: Sequence[str], *, top_k: int) -> Iterator[Answer]:
    """Yield the answers to pictures, in their order; those to a batch's come together.

    A picture that cannot be read takes no other's answer.

    Args:
        sessions: Of `open_sessions`.
        sources: The pictures.
        top_k: Classification: how many of the best classes to give.

    Raises:
        ArtifactError: The artifact answers with what is no number.
    """
    # Reading mutes warnings, which threads cannot do each for itself.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if len(sessions) > 1:
            yield from _side_by_side(sessions, sources, top_k)
        else:
            yield from _read_ahead(sessions[0], sources, top_k)


def _side_by_side(sessions: Sequence[Session], sources: Sequence[str], top_k: int) -> Iterator[Answer]:
    free: queue.SimpleQueue[Session] = queue.SimpleQueue()
    for session in sessions:
        free.put(session)

    def answer(source: str) -> tuple[Picture | PictureError, Prediction | None]:
        picture = _read(source)
        if isinstance(picture, PictureError):
            return picture, None
        session = free.get()
        try:
            return picture, session.predict_pictures([picture], top_k=top_k)[0]
        finally:
            free.put(session)

    for place, (picture, prediction) in enumerate(_threaded(answer, sources, len(sessions))):
        yield place, picture, prediction


def _read_ahead(session: Session, sources: Sequence[str], top_k: int) -> Iterator[Answer]:
    waiting: list[tuple[int, Picture]] = []

    def answered() -> Iterator[Answer]:
        predictions = session.predict_pictures([picture for _, picture in waiting], top_k=top_k)
        for (place, picture), prediction in zip(waiting, predictions, strict=True):
            yield place, picture, prediction
        waiting.clear()

    for place, picture in enumerate(_threaded(_read, sources, 2)):
        if isinstance(picture, PictureError):
            yield place, picture, None
            continue
        waiting.append((place, picture))
        if len(waiting) == session.batch_size:
            yield from answered()
    if waiting:
        yield from answered()


def _threaded(function: Callable[[str], Any], sources: Sequence[str], workers: int) -> Iterator[Any]:
    if len(sources) == 1:
        return map(function, sources)
    return in_threads(function, sources, workers=workers, ahead=workers + _AHEAD)


def _read(source: str) -> Picture | PictureError:
    try:
        return read_picture(source)
    except PictureError as error:
        return error


def _useful(path: Path, pictures: int) -> int:
    """Return how many openings serve so many pictures; one where it takes them in batches."""
    count = min(cores(), _MOST_SESSIONS, pictures // _PICTURES_A_SESSION)
    if count < 2:
        return 1
    batch, *_ = runtime_of(path)[1].read_metadata(path)["input"]["shape"] or (None,)
    return count if batch in (1, None) else 1
