"""Reading, answering and drawing at the same time, and what happens where one of them is slow or ends."""

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest

from edgecv.errors import ArtifactError, VideoError
from edgecv.pictures import Picture
from edgecv.results import Prediction
from edgecv.session import Session
from edgecv.streaming.pipeline import FrameStream
from edgecv.streaming.sources import Frame

WAIT = 20.0  # for what comes at once


@dataclass
class Fake:
    """A source that gives so many frames, each of its number as a grey, and then fails or ends."""

    count: int = 10
    live: bool = False
    error: Exception | None = None
    before: Callable[[int], None] = lambda _: None
    name: str = "fake"
    closed: threading.Event = field(default_factory=threading.Event)

    def total(self) -> int | None:
        return None

    def rate(self) -> Fraction | None:
        return None

    def frames(self, every: int) -> Generator[Frame, None, None]:
        try:
            for number in range(0, self.count, every):
                self.before(number)
                yield Frame(Picture(np.full((2, 3, 3), number % 256, np.uint8), self.name), number, number / 10)
            if self.error is not None:
                raise self.error
        finally:
            self.closed.set()


@dataclass
class Answers:
    """Answers with the grey of each picture."""

    before: Callable[[int], None] = lambda _: None
    batch_size: int = 1
    batches: list[int] = field(default_factory=list)

    def predict_pictures(self, pictures: list[Picture], *, top_k: int) -> list[Prediction]:
        self.batches.append(len(pictures))
        greys = [int(picture.pixels[0, 0, 0]) for picture in pictures]
        self.before(greys[0])
        return [Prediction(results=[{"class": grey, "top_k": top_k}]) for grey in greys]


def stream(source: Fake, *sessions: Answers, **settings: Any) -> FrameStream:
    return FrameStream(source, cast("list[Session]", list(sessions) or [Answers()]), **settings)


def numbers(streamed: FrameStream) -> list[int]:
    found = []
    for frame, prediction in streamed.answers():
        assert prediction.results[0]["class"] == frame.number % 256
        found.append(frame.number)
    return found


def gather(streamed: FrameStream, found: list[int], taken: threading.Semaphore | None = None) -> None:
    for frame, _ in streamed.answers():
        found.append(frame.number)
        if taken is not None:
            taken.release()


@pytest.mark.parametrize("sessions", [1, 2, 4])
def test_frames_are_answered_in_order(sessions: int) -> None:
    streamed = stream(Fake(count=100), *(Answers() for _ in range(sessions)))
    assert numbers(streamed) == list(range(100))
    assert (streamed.answered, streamed.dropped) == (100, 0)
    assert streamed.rate() > 0
    assert streamed.seconds > 0


def test_every_so_many_frames_and_top_k_are_handed_on() -> None:
    streamed = stream(Fake(count=10), every=4, top_k=7)
    found = [(frame.number, prediction.results[0]["top_k"]) for frame, prediction in streamed.answers()]
    assert found == [(0, 7), (4, 7), (8, 7)]


def test_a_frame_is_read_while_the_one_before_is_answered() -> None:
    asked = [threading.Event() for _ in range(5)]

    def answer(number: int) -> None:
        # Were it not read meanwhile, this would never come.
        assert asked[min(number + 1, 4)].wait(WAIT)

    source = Fake(count=5, before=lambda number: asked[number].set())
    assert numbers(stream(source, Answers(before=answer))) == [0, 1, 2, 3, 4]


def test_a_video_is_read_no_further_than_a_few_frames_ahead() -> None:
    read: list[int] = []
    most = 0
    streamed = stream(Fake(count=60, before=read.append))
    for frame, _ in streamed.answers():
        most = max(most, len(read) - frame.number)
    assert most <= 8


def test_of_a_camera_the_newest_frame_is_answered_and_none_wait() -> None:
    shown = threading.Event()
    answering = threading.Event()

    def show(number: int) -> None:
        if number == 1:  # the first is being answered
            assert answering.wait(WAIT)
        if number == 99:
            shown.set()

    def answer(number: int) -> None:
        answering.set()
        if number == 0:
            assert shown.wait(WAIT)

    source = Fake(count=100, live=True, before=show)
    streamed = stream(source, Answers(before=answer), Answers())
    found = numbers(streamed)
    # What came while the first was answered is gone, but for the newest.
    assert found[0] == 0
    assert found[1] >= 98
    assert streamed.dropped == 100 - len(found)


@pytest.mark.parametrize("live", [False, True])
def test_frames_before_an_error_are_answered(live: bool) -> None:
    taken = threading.Semaphore(0)
    source = Fake(count=5, live=live, error=VideoError("It was pulled."))
    if live:  # slowly enough for the answers
        source.before = lambda number: None if number == 0 else cast("None", taken.acquire(timeout=WAIT))
    streamed = stream(source)
    found: list[int] = []
    with pytest.raises(VideoError, match=r"^It was pulled\.$"):
        gather(streamed, found, taken)
    assert found == [0, 1, 2, 3, 4]
    assert source.closed.is_set()


def test_a_camera_that_goes_silent_is_named() -> None:
    silent = threading.Event()
    source = Fake(count=2, live=True, before=lambda number: None if number == 0 else cast("None", silent.wait(WAIT)))
    streamed = stream(source, patience=0.2)
    try:
        with pytest.raises(
            VideoError, match=r"^Camera 'fake' has given no frame for 0\.2 seconds\. Plug it in again\.$"
        ):
            numbers(streamed)
    finally:
        silent.set()
    assert streamed.answered == 1


def test_whoever_has_seen_enough_ends_the_reading() -> None:
    source = Fake(count=10**9, live=True)
    answers = stream(source).answers()
    next(answers)
    answers.close()
    assert source.closed.wait(WAIT)


def test_an_artifact_that_fails_ends_the_reading() -> None:
    def fail(_: int) -> None:
        raise ArtifactError("No number.")

    source = Fake(count=10**9)
    with pytest.raises(ArtifactError, match=r"^No number\.$"):
        numbers(stream(source, Answers(before=fail)))
    assert source.closed.wait(WAIT)


def test_a_batch_takes_frames_together_and_the_rest_at_the_end() -> None:
    session = Answers(batch_size=4)
    source = Fake(count=10, error=VideoError("It is damaged."))
    found: list[int] = []
    with pytest.raises(VideoError, match=r"^It is damaged\.$"):
        gather(stream(source, session), found)
    assert found == list(range(10))
    assert session.batches == [4, 4, 2]
    camera = Answers(batch_size=4)
    numbers(stream(Fake(count=3, live=True), camera))
    assert set(camera.batches) == {1}  # a camera waits for no others
