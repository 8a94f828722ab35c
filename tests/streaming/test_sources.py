"""What sources are, and what is said of those that are none."""

import importlib.util
from pathlib import Path

import pytest

from edgecv.errors import MissingExtraError, OptionError, PictureError
from edgecv.streaming.sources import find_sources


def kinds(*names: str | Path) -> list[tuple[str, str]]:
    return [(source.name, source.kind) for source in find_sources(names)]


def test_sources_keep_their_order_whatever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for name in ("a.jpg", "b.MOV", "folder/c.png", "folder/d.mp4", "x.txt"):
        Path(name).write_bytes(b"x")
    assert kinds("camera:12", "none.mp4", "folder", "?.*", "x.txt") == [
        ("camera:12", "camera"),
        ("none.mp4", "video"),
        ("folder/c.png", "picture"),
        ("a.jpg", "picture"),
        ("b.MOV", "video"),
        ("x.txt", "picture"),
        ("x.txt", "picture"),
    ]


def test_a_name_like_a_video_may_be_a_folder_or_a_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shots.mp4").mkdir()
    Path("shots.mp4/a.png").write_bytes(b"x")
    Path("clip[1].mp4").write_bytes(b"x")
    assert kinds("shots.mp4") == [("shots.mp4/a.png", "picture")]
    assert kinds("clip[1].mp4") == [("clip[1].mp4", "video")]
    assert kinds("*.mp4") == [("clip[1].mp4", "video")]


@pytest.mark.parametrize("name", ["camera:x", "camera:", "camera:-1", "camera:0.5", "camera:99999", "Camera:0"])
def test_a_camera_needs_its_number(name: str) -> None:
    with pytest.raises(OptionError) as raised:
        find_sources([name])
    assert str(raised.value) == f"{name!r} is no camera. Give its number, as in camera:0 for /dev/video0."


def test_an_address_is_refused() -> None:
    with pytest.raises(OptionError) as raised:
        find_sources(["rtsp://camera/1.mp4"])
    assert str(raised.value) == (
        "'rtsp://camera/1.mp4' is an address. Name a picture, folder, glob or video on this machine, or camera:0."
    )


def test_a_glob_that_matches_nothing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"^Glob '.*\*\.mp4' matches no file\. Check its folder and suffix\.$"):
        find_sources([tmp_path / "*.mp4"])


@pytest.mark.parametrize("name", ["clip.mp4", "camera:0"])
def test_without_the_extra_videos_and_cameras_name_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert kinds("picture.png") == [("picture.png", "picture")]
    with pytest.raises(MissingExtraError) as raised:
        find_sources(["picture.png", name])
    assert str(raised.value) == (
        "Reading videos and cameras needs av, which is not installed. Run: pip install 'edgecv[video]'"
    )
