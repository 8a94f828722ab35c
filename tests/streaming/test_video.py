"""Frames of video files: all of them, upright, at their times; and what is said where there are none."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edgecv.errors import VideoError
from edgecv.streaming.sources import Frame
from edgecv.streaming.video import CameraFrames, VideoFrames

MakeVideo = Callable[..., Path]


def frames_of(path: Path, every: int = 1) -> list[Frame]:
    return list(VideoFrames(str(path)).frames(every))


def until_error(path: Path) -> tuple[list[Frame], str]:
    frames: list[Frame] = []
    try:
        for frame in VideoFrames(str(path)).frames(1):
            frames.append(frame)  # noqa: PERF402 - what came before the error counts
    except VideoError as error:
        return frames, str(error)
    return frames, ""


def greys(frames: list[Frame]) -> list[int]:
    return [round(float(frame.picture.pixels.mean())) for frame in frames]


def test_all_frames_come_in_order_with_their_times(make_video: MakeVideo) -> None:
    source = VideoFrames(str(make_video("grey.mp4")))
    frames = list(source.frames(1))
    assert greys(frames) == pytest.approx(range(0, 250, 25), abs=2)
    assert [frame.number for frame in frames] == list(range(10))
    assert [frame.seconds for frame in frames] == pytest.approx([number / 25 for number in range(10)])
    assert {frame.picture.source for frame in frames} == {source.name}
    assert source.total() == 10
    assert source.rate() == pytest.approx(25)


def test_every_third_frame_keeps_its_number_and_time(make_video: MakeVideo) -> None:
    frames = frames_of(make_video("grey.mkv"), every=3)
    assert [frame.number for frame in frames] == [0, 3, 6, 9]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.12, 0.24, 0.36])
    assert greys(frames) == pytest.approx([0, 75, 150, 225], abs=2)


def test_a_variable_frame_rate_keeps_its_times(make_video: MakeVideo) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 3.0]
    for name in ("varied.mp4", "varied.mkv"):
        frames = frames_of(make_video(name, range(0, 250, 50), times=times))
        assert [frame.seconds for frame in frames] == pytest.approx(times)


def test_avi_gives_times_in_the_order_of_the_frames(make_video: MakeVideo) -> None:
    frames = frames_of(make_video("old.avi"), every=2)
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])


def test_times_count_from_the_beginning_of_the_video(make_video: MakeVideo) -> None:
    # MPEG transport streams begin at 1.4 seconds or wherever the station was.
    frames = frames_of(make_video("station.ts", sound=True))
    assert frames[0].seconds == pytest.approx(0, abs=0.1)
    assert frames[9].seconds - frames[0].seconds == pytest.approx(0.36)


# The matrix as QuickTime defines it: a pixel at (x, y) is shown at (ax + cy, bx + dy).
@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda picture: picture),
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),  # a phone held upright
        ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
        ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
        ((-1, 0, 0, 1), np.fliplr),  # a mirror
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda picture: picture.transpose(1, 0, 2)),
    ],
    ids=["as it is", "90", "180", "270", "mirrored", "upside down", "transposed"],
)
def test_a_turned_video_is_seen_upright(
    matrix: tuple[int, int, int, int],
    upright: Callable[[Any], Any],
    video_of: MakeVideo,
    turn: Callable[[Path, tuple[int, int, int, int]], Path],
) -> None:
    quarters = np.kron(np.array([[20, 90], [160, 230]], np.uint8), np.ones((16, 24), np.uint8))
    stored = np.repeat(quarters[..., None], 3, axis=2)
    (frame,) = frames_of(turn(video_of("phone.mp4", [stored]), matrix))
    shown = upright(stored)
    assert frame.picture.pixels.shape == shown.shape
    assert np.abs(frame.picture.pixels.astype(int) - shown).max() <= 3


def test_odd_sizes_stay_odd(make_video: MakeVideo) -> None:
    (frame,) = frames_of(make_video("odd.mp4", [90], size=(33, 17), pixels="yuv444p"))
    assert (frame.picture.width, frame.picture.height) == (33, 17)


def test_a_video_with_a_question_mark_or_a_protocol_in_its_name_is_a_file(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_video("data:,x?.mp4").parent)
    assert len(frames_of(Path("data:,x?.mp4"))) == 10


def test_a_cut_off_video_gives_what_decodes_and_says_so(make_video: MakeVideo) -> None:
    path = make_video("cut.mp4", range(100), rate=5, options={"movflags": "faststart"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    frames, message = until_error(path)
    problem = r"it ends after \d+\.\d of 20\.0 seconds"
    assert re.fullmatch(rf"Video '.*cut.mp4' is damaged: {problem}\. Copy or record it again\.", message)
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert len(frames) > 20


def test_a_matroska_video_that_is_cut_off_says_so(make_video: MakeVideo) -> None:
    path = make_video("cut.mkv", range(100), rate=5)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    _, message = until_error(path)
    assert re.search(r"' is damaged: it ends after \d+\.\d of 20\.0 seconds\. ", message)


def test_damaged_packets_cost_their_own_frames_alone(video_of: MakeVideo) -> None:
    random = np.random.default_rng(0)
    path = video_of("broken.mp4", [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(30)])
    content = bytearray(path.read_bytes())
    middle = content.find(b"mdat") + len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    frames, message = until_error(path)
    problem = r"\d+ of its frames do not decode, or not whole"
    assert re.fullmatch(rf"Video '.*broken.mp4' is damaged: {problem}\. Copy or record it again\.", message)
    assert frames[-1].seconds == pytest.approx(29 / 25)
    assert len(frames) >= 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no video", "is damaged or no video that edgecv reads: Invalid data found when processing input. Use MP4, "),
        (b"", "is damaged or no video that edgecv reads: Invalid data found when processing input. Use MP4, "),
        # Another program would follow the list to a file that it names.
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "is damaged or no video that edgecv reads: "),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "is damaged or no video that edgecv reads: "),
    ],
    ids=["text", "empty", "playlist", "concatenation"],
)
def test_what_is_no_video_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError) as raised:
        frames_of(path)
    assert str(raised.value).startswith(f"Video {str(path)!r} {message}")
    assert "\n" not in str(raised.value)


def test_sound_alone_is_no_video(make_video: MakeVideo) -> None:
    path = make_video("sound.mp4", [])
    with pytest.raises(VideoError, match=r"^Video '.*sound\.mp4' holds only sound\. Name one with pictures\.$"):
        frames_of(path)


@pytest.mark.parametrize("name", ["empty.mkv", "empty.mp4", "empty.avi"])
def test_a_video_without_frames_says_so(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match=r"^Video '.*empty\....' has no frame\. Record it again\.$"):
        frames_of(path)


def test_missing_files_and_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        VideoError, match=r"^Video '.*none\.mp4' does not exist\. Name a video, a picture, a folder or a glob\.$"
    ):
        frames_of(tmp_path / "none.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(VideoError, match=r"^Video '.*' is not a file\. Name a video, a picture, a folder or a glob\.$"):
        frames_of(tmp_path / "folder.mp4")


def test_a_camera_that_is_not_there_is_one_line_with_those_that_are() -> None:
    with pytest.raises(
        VideoError,
        match=r"^Camera 'camera:9999' does not exist: there is no /dev/video9999\. Cameras here: (none|camera:.*)\.$",
    ):
        next(CameraFrames("camera:9999", 9999).frames(1))


def test_a_cameras_frames_are_numbered_and_its_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    # FFmpeg's test picture in the place of the device; both are read without end in sight.
    opened = av.open

    def camera(file: str, *, format: str, **_: object) -> Any:  # noqa: A002 - PyAV's name
        assert (file, format) == ("/dev/video3", "v4l2")
        return opened("testsrc=size=64x48:rate=30:duration=0.5", format="lavfi")

    monkeypatch.setattr(av, "open", camera)
    source = CameraFrames("camera:3", 3)
    frames: list[Frame] = []
    with pytest.raises(VideoError, match=r"^Camera 'camera:3' is gone: it gives no more frames\. Plug it in again\.$"):
        frames.extend(source.frames(4))
    iterated = source.frames(4)
    found = [next(iterated) for _ in range(4)]
    assert [frame.number for frame in found] == [0, 4, 8, 12]
    assert [frame.seconds for frame in found] == pytest.approx([0, 4 / 30, 8 / 30, 12 / 30], abs=1e-3)
    assert source.rate() == 30
    assert source.total() is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(13, "Permission denied"),
            r"may not be used\. Add your user to the group that owns /dev/video0\.",
        ),
        (
            OSError(16, "Device or resource busy"),
            r"cannot be opened: Device or resource busy\. End the program that uses it\.",
        ),
        (
            OSError(25, "Inappropriate ioctl for device"),
            r"cannot be opened: Inappropriate ioctl .*\. Try another one\.",
        ),
    ],
    ids=["forbidden", "in use", "no camera"],
)
def test_a_camera_that_cannot_be_opened_says_why(error: OSError, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(VideoError, match=rf"^Camera 'camera:0' {message}$"):
        next(CameraFrames("camera:0", 0).frames(1))
