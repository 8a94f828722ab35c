"""Annotated videos: whole under their name or not there, with the times and the size of what was read."""

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv.errors import OutputError, VideoError
from edgecv.pictures import Picture
from edgecv.results import Prediction
from edgecv.streaming import recorder as recorders
from edgecv.streaming.recorder import Recorder
from edgecv.streaming.sources import Frame
from edgecv.streaming.video import VideoFrames

NOTHING = Prediction(results=[])


def frame(number: int, seconds: float, *, size: tuple[int, int] = (64, 48), grey: int = 100) -> Frame:
    return Frame(Picture(np.full((size[1], size[0], 3), grey, np.uint8)), number, seconds)


def plain(shown: Frame, _: Prediction) -> Image.Image:
    return Image.fromarray(shown.picture.pixels)


def record(path: Path, frames: list[Frame], **settings: Any) -> list[Frame]:
    with Recorder(path, plain, **settings) as recorder:
        for each in frames:
            recorder.add(each, NOTHING)
    assert recorder.written == len(frames)
    return list(VideoFrames(str(path)).frames(1))


def test_a_video_keeps_greys_and_uneven_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 1.5, 1.54, 4.0]
    read = record(tmp_path / "a.mp4", [frame(n, time, grey=40 * n) for n, time in enumerate(times)])
    assert [each.seconds for each in read] == pytest.approx(times, abs=1e-3)
    assert [round(float(each.picture.pixels.mean())) for each in read] == pytest.approx(range(0, 240, 40), abs=3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4"]


def test_odd_sizes_are_made_even_by_repeating_the_border(tmp_path: Path) -> None:
    (read,) = record(tmp_path / "odd.mp4", [frame(0, 0.0, size=(33, 17), grey=200)])
    assert (read.picture.width, read.picture.height) == (34, 18)
    assert int(read.picture.pixels.min()) >= 195


def test_frames_of_another_size_are_brought_to_the_first_ones(tmp_path: Path) -> None:
    read = record(tmp_path / "a.mp4", [frame(0, 0.0), frame(1, 0.1, size=(128, 96)), frame(2, 0.2, size=(1, 1))])
    assert [(each.picture.width, each.picture.height) for each in read] == [(64, 48)] * 3


def test_times_that_do_not_grow_are_mended(tmp_path: Path) -> None:
    read = record(tmp_path / "a.mp4", [frame(n, 0.5) for n in range(4)], rate=lambda: Fraction(30000, 1001))
    assert len(read) == 4


def test_without_a_frame_there_is_no_video(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.mp4", plain):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("error", "kept"), [(VideoError("Cut off."), True), (KeyboardInterrupt(), False)])
def test_what_ends_it_decides_whether_it_is_kept(error: BaseException, kept: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), Recorder(path, plain, keep_after=(VideoError,)) as recorder:  # noqa: PT012
        for number in range(20):
            recorder.add(frame(number, number / 10), NOTHING)
        raise error
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    if kept:
        assert len(list(VideoFrames(str(path)).frames(1))) == 20
    else:
        assert path.read_bytes() == b"old"


def test_what_cannot_be_written_is_said_to_whoever_adds_frames(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.mp4"
    with pytest.raises(OutputError) as raised, Recorder(path, plain) as recorder:  # noqa: PT012
        for number in range(1000):  # more than can wait
            recorder.add(frame(number, number / 10), NOTHING)
    assert str(raised.value) == (
        f"Cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist. Create it first."
    )


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorders._VideoFile, "add", full)
    with pytest.raises(
        OutputError, match=r"^Cannot write '.*a\.mp4': the disk is full\. Free some space and try again\.$"
    ):
        record(tmp_path / "a.mp4", [frame(0, 0.0)])
    assert list(tmp_path.iterdir()) == []


def test_drawing_waits_in_a_short_queue(tmp_path: Path) -> None:
    go = threading.Event()
    added = []

    def slow(shown: Frame, prediction: Prediction) -> Image.Image:
        assert go.wait(20)
        return plain(shown, prediction)

    def add(recorder: Recorder) -> None:
        for number in range(20):
            recorder.add(frame(number, number / 10), NOTHING)
            added.append(number)

    with Recorder(tmp_path / "a.mp4", slow) as recorder:
        adder = threading.Thread(target=add, args=(recorder,))
        adder.start()
        adder.join(0.3)
        assert len(added) <= 6
        go.set()
        adder.join(20)
    assert recorder.written == 20
