"""Videos made here by PyAV."""

import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

MakeVideo = Callable[..., Path]


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Make a video of plain greys."""

    def make(name: str, greys: Iterable[int] = range(0, 250, 25), **settings: Any) -> Path:
        return _write(tmp_path / name, [_grey(grey, settings.pop("size", (64, 48))) for grey in greys], **settings)

    return make


@pytest.fixture
def video_of(tmp_path: Path) -> MakeVideo:
    """Make a video of given frames, uint8 ``(height, width, 3)``."""

    def make(name: str, frames: Sequence[Any], **settings: Any) -> Path:
        return _write(tmp_path / name, frames, **settings)

    return make


@pytest.fixture
def turn() -> Callable[[Path, tuple[int, int, int, int]], Path]:
    """Write a display matrix (a, b, c, d) into an MP4's track header, where ISO 14496-12 says it is."""

    def write(path: Path, matrix: tuple[int, int, int, int]) -> Path:
        content = bytearray(path.read_bytes())
        header = content.find(b"tkhd") + 4
        begin = header + 4 + (32 if content[header] == 1 else 20) + 16
        a, b, c, d = (65536 * value for value in matrix)
        content[begin : begin + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(content)
        return path

    return write


def _grey(grey: int, size: tuple[int, int]) -> Any:
    return np.full((size[1], size[0], 3), grey, np.uint8)


def _write(
    path: Path,
    frames: Sequence[Any],
    *,
    rate: int = 25,
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    sound: bool = False,
) -> Path:
    with av.open(str(path), "w", options=options or {}) as container:
        if frames:
            stream: Any = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "qp": "0"})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = pixels
            stream.codec_context.time_base = Fraction(1, 1000)
        if sound or not frames:
            _add_sound(container)
        for number, pixels_ in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_, format="rgb24")
            frame.pts = round(1000 * (times[number] if times else number / rate))
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if frames:
            container.mux(stream.encode())
    return path


def _add_sound(container: Any) -> None:
    stream = container.add_stream("aac", rate=16000)
    for number in range(10):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 1024 * number
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
