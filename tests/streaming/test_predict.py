"""``edgecv predict`` on videos and cameras, by the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgecv.cli import answering, cli
from edgecv.errors import VideoError
from edgecv.pictures import Picture
from edgecv.streaming.pipeline import FrameStream
from edgecv.streaming.sources import Frame
from edgecv.streaming.video import VideoFrames

MakeVideo = Callable[..., Path]

# A process whose camera gives frames without end, or whose videos are ten seconds long.
SCRIPT = """
import sys, time
from fractions import Fraction
import numpy as np
from edgecv.cli import answering, main
from edgecv.pictures import Picture
from edgecv.streaming.sources import Frame

class Fake:
    total = lambda self: None
    rate = lambda self: Fraction(50)

    def __init__(self, source):
        self.name, self.live = source.name, source.kind == "camera"

    def frames(self, every):
        begin = time.perf_counter()
        for number in range(100_000):
            time.sleep(0.02)
            yield Frame(Picture(np.full((48, 64, 3), number % 200, np.uint8), self.name), number, number / 50)

answering.open_frames = Fake
sys.argv = ["edgecv", "predict", *sys.argv[1:]]
main()
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["predict", *map(str, arguments)])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def reds(answers: list[dict[str, Any]]) -> list[int]:
    """The grey that the tiny network saw in each: its first score is the mean of red."""
    return [round(255 * next(each["score"] for each in answer["results"] if each["class"] == 0)) for answer in answers]


class Camera:
    """Gives three frames and is pulled; or what a test wants."""

    live = True
    name = "camera:0"

    def __init__(self, wait: Callable[[], object] = lambda: time.sleep(0.05)) -> None:
        self.wait = wait

    def total(self) -> int | None:
        return None

    def rate(self) -> Fraction | None:
        return Fraction(30)

    def frames(self, every: int) -> Generator[Frame, None, None]:
        for number in range(0, 3 * every, every):
            yield Frame(Picture(np.full((48, 64, 3), 50 * number, np.uint8), self.name), number, number / 30)
            self.wait()
        raise VideoError("Camera 'camera:0' is gone: No such device. Plug it in again.")


def test_jsonl_is_a_line_a_frame(artifact: Path, make_video: MakeVideo) -> None:
    video = make_video("grey.mp4")
    result = run(artifact, video, "--jsonl")
    assert result.exit_code == 0
    answers = lines(result)
    assert [list(answer) for answer in answers] == [
        ["source", "frame", "seconds", "width", "height", "milliseconds", "results"]
    ] * 10
    assert [answer["frame"] for answer in answers] == list(range(10))
    assert [answer["seconds"] for answer in answers] == pytest.approx([number / 25 for number in range(10)])
    assert {(answer["source"], answer["width"], answer["height"]) for answer in answers} == {(str(video), 64, 48)}
    assert reds(answers) == pytest.approx(range(0, 250, 25), abs=2)
    assert result.stderr.startswith(f"{video}: 10 frames answered, ")
    assert result.stderr.count("\n") == 1


def test_json_is_one_document_of_all_frames(artifact: Path, make_video: MakeVideo) -> None:
    video = make_video("grey.mp4")
    answers = json.loads(run(artifact, video, "--json", "--every", 4).stdout)
    assert [answer["frame"] for answer in answers] == [0, 4, 8]


def test_people_read_a_line_a_frame(artifact: Path, make_video: MakeVideo) -> None:
    result = run(artifact, make_video("grey.mp4", [255]), "--top-k", 1)
    assert result.stdout.split()[1:4] == ["#0", "0.000", "s"]
    assert result.stdout.split()[-1] == "1.00"


def test_pictures_and_videos_are_answered_in_the_order_of_the_sources(
    artifact: Path, make_video: MakeVideo, tmp_path: Path
) -> None:
    for name, grey in (("a.png", 10), ("z.png", 20)):
        Image.new("RGB", (8, 8), (grey,) * 3).save(tmp_path / name)
    video = make_video("b.mp4", [100, 200])
    result = run(artifact, tmp_path / "a.png", video, tmp_path / "none.png", tmp_path / "z.png", "--jsonl")
    answers = lines(result)
    assert [Path(answer["source"]).name for answer in answers] == ["a.png", "b.mp4", "b.mp4", "none.png", "z.png"]
    assert set(answers[3]) == {"source", "error"}
    del answers[3]
    assert reds(answers) == pytest.approx([10, 100, 200, 20], abs=2)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: 1 of 4 sources have no answer, or not to their end. "
        f"Picture {str(tmp_path / 'none.png')!r} does not exist. Name a picture, a folder or a glob."
    )


def test_pictures_have_lines_without_a_frame(artifact: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (answer,) = lines(run(artifact, tmp_path / "a.png", "--jsonl"))
    assert list(answer) == ["source", "width", "height", "milliseconds", "results"]


def test_saved_videos_lie_beside_saved_pictures(artifact: Path, make_video: MakeVideo, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("grey.png", "in/grey.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    video = make_video("grey.mkv", size=(321, 201), pixels="yuv444p")
    out = tmp_path / "out"
    result = run(artifact, tmp_path / "grey.png", video, tmp_path / "in", "--save", out, "--jsonl", "--every", 3)
    assert result.exit_code == 0
    assert sorted(file.name for file in out.iterdir()) == ["grey-2.png", "grey.mp4", "grey.png"]
    frames = list(VideoFrames(str(out / "grey.mp4")).frames(1))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.12, 0.24, 0.36], abs=1e-3)
    assert {(frame.picture.width, frame.picture.height) for frame in frames} == {(322, 202)}
    assert [round(float(frame.picture.pixels[150:].mean())) for frame in frames] == pytest.approx(
        [0, 75, 150, 225], abs=3
    )
    assert int(frames[0].picture.pixels[:100].max()) > 200  # what is written on black
    assert f"-> {out / 'grey.mp4'}" in result.stderr


def test_a_video_is_not_saved_over_itself(artifact: Path, make_video: MakeVideo) -> None:
    video = make_video("grey.mp4")
    result = run(artifact, video, "--save", video.parent)
    assert result.stderr == (
        f"Error: --save {str(video.parent)!r} holds the sources, which must not be overwritten. Name another folder.\n"
    )


def test_a_damaged_video_is_answered_as_far_as_it_decodes(
    artifact: Path, make_video: MakeVideo, tmp_path: Path
) -> None:
    video = make_video("cut.mp4", range(100), rate=5, options={"movflags": "faststart"})
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 3])
    result = run(artifact, video, "--jsonl", "--save", tmp_path / "out")
    *answers, failure = lines(result)
    assert len(answers) > 20
    assert set(failure) == {"source", "error"}
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: {failure['error']}"
    saved = list(VideoFrames(str(tmp_path / "out" / "cut.mp4")).frames(1))
    assert len(saved) == len(answers)
    document = json.loads(run(artifact, video, "--json").stdout)
    assert document[-1] == failure


@pytest.mark.parametrize("form", ["--json", "--jsonl"])
def test_a_video_without_an_answer_is_one_line(form: str, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "none.mp4").write_bytes(b"no video")
    result = run(artifact, tmp_path / "none.mp4", form, "--save", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: Video {str(tmp_path / 'none.mp4')!r} is damaged or no video that edgecv reads: "
        "Invalid data found when processing input. Use MP4, MKV, WebM or AVI.\n"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_pulled_camera_ends_with_what_it_gave(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "open_frames", lambda _: Camera())
    result = run(artifact, "camera:0", "--jsonl", "--save", tmp_path / "out")
    *answers, failure = lines(result)
    assert [answer["frame"] for answer in answers] == [0, 1, 2]
    assert failure == {"source": "camera:0", "error": "Camera 'camera:0' is gone: No such device. Plug it in again."}
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"Error: {failure['error']}"
    assert len(list(VideoFrames(str(tmp_path / "out" / "camera-0.mp4")).frames(1))) == 3


def test_dropped_frames_are_counted(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "open_frames", lambda _: Camera(wait=lambda: None))
    release = threading.Event()
    original = FrameStream.answers

    def slow(self: Any) -> Any:
        for each in original(self):
            release.wait(0.3)  # meanwhile the other two have come
            yield each

    monkeypatch.setattr(FrameStream, "answers", slow)
    result = run(artifact, "camera:0", "--jsonl", "--every", 2)
    assert [answer.get("frame") for answer in lines(result)] in ([0, 4, None], [4, None])
    assert " dropped, " in result.stderr


def test_a_full_folder_stops_it_in_one_line(
    artifact: Path, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecv.streaming import recorder

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder._VideoFile, "add", full)
    result = run(artifact, make_video("grey.mp4"), "--save", tmp_path / "out")
    path = tmp_path / "out" / "grey.mp4"
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        f"Error: Cannot write {str(path)!r}: the disk is full. Free some space and try again."
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_forms_that_cannot_be_are_one_line(artifact: Path) -> None:
    assert run(artifact, "camera:0", "--json").stderr == (
        "Error: --json prints one document at the end, which 'camera:0' has not. Use --jsonl.\n"
    )
    assert run(artifact, "a.mp4", "--json", "--jsonl").stderr == (
        "Error: --json and --jsonl exclude each other. Choose one.\n"
    )
    assert "'--every'" in run(artifact, "a.mp4", "--every", 0).stderr


@pytest.mark.parametrize(
    ("source", "number", "kept"),
    [("camera:0", signal.SIGINT, True), ("long.mp4", signal.SIGINT, False), ("camera:0", signal.SIGTERM, True)],
)
def test_ctrl_c_and_sigterm_end_cleanly(
    source: str, number: signal.Signals, kept: bool, artifact: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(artifact), source, "--jsonl", "--save", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(5)]  # flushed one by one
        os.kill(process.pid, number)
        rest, said = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    answers = [json.loads(line) for line in [*seen, *rest.splitlines()]]
    assert said.splitlines()[-1] == "Error: Interrupted." or number != signal.SIGINT
    if kept:  # a camera has no other end
        assert [file.name for file in out.iterdir()] == ["camera-0.mp4"]
        saved = list(VideoFrames(str(out / "camera-0.mp4")).frames(1))
        assert len(answers) <= len(saved) <= len(answers) + 1
    else:
        assert list(out.iterdir()) == []


def test_whoever_reads_enough_ends_it_without_a_word_of_trouble(artifact: Path, make_video: MakeVideo) -> None:
    command = [sys.executable, "-m", "edgecv.cli", "predict", str(artifact)]
    video = make_video("grey.mp4", [*range(250)] * 4)
    with subprocess.Popen(
        [*command, str(video), "--jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(30) == 141
    assert "Error" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("piped", [True, False], ids=["results in a pipe", "all on one terminal"])
def test_a_terminal_shows_frames_a_second_and_a_pipe_gets_results_alone(
    piped: bool, artifact: Path, make_video: MakeVideo
) -> None:
    video = make_video("grey.mp4", range(200))
    command = [sys.executable, "-m", "edgecv.cli", "predict", str(artifact), str(video), "--jsonl"]
    ours, theirs = os.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE if piped else theirs, stderr=theirs) as process:
        os.close(theirs)
        reader = threading.Thread(target=lambda: seen.extend(iter(lambda: _read(ours), b"")))
        seen: list[bytes] = []
        reader.start()
        results = b"" if process.stdout is None else process.stdout.read()
        assert process.wait(60) == 0
        reader.join(20)
    os.close(ours)
    shown = b"".join(seen).decode()
    assert " of 200  " in shown
    assert " frames/s" in shown
    if piped:
        assert len([json.loads(line) for line in results.splitlines()]) == 200
        assert '"results"' not in shown
    else:
        # Each begins its own line, not behind the spinner.
        assert len(re.findall(r'(?:\n|\x1b\[2K)\{"source"', shown)) == 200


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # its other end is closed
        return b""
