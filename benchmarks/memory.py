"""Memory of a process over many frames: `Session.predict` and the streaming pipeline, with each engine.

    python benchmarks/memory.py

A small detector and a small classifier answer frames that all differ. The resident memory is read after the first
thousand frames, when all that is kept is there, and at the end; the CSV file has both and the largest between.
Each case is a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from measuring import update_csv

_NETWORKS = ("lenet5", "ssd_tiny")
_FORMATS = ("onnx", "tflite")
_WAYS = ("predict", "video", "camera", "8 threads")
_WARM = 1_000


class _Frames:
    """A source of pictures of noise, of 320 × 240 pixels."""

    def __init__(self, count: int, *, live: bool) -> None:
        self.name = "noise"
        self.live = live
        self._count = count

    def total(self) -> int | None:
        return self._count

    def rate(self) -> Fraction | None:
        return Fraction(30)

    def frames(self, every: int) -> Generator[Any, None, None]:
        from edgecv.pictures import Picture
        from edgecv.streaming.sources import Frame

        for number, pixels in enumerate(_noise(self._count)):
            if number % every == 0:
                yield Frame(Picture(pixels, self.name), number, number / 30)


def _noise(count: int) -> Iterator[Any]:
    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.integers(0, 256, (240, 320, 3), np.uint8)


def _resident() -> float:
    """Return the memory that this process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _answers(way: str, path: Path, frames: int) -> Iterator[object]:
    from edgecv.data.threads import in_threads
    from edgecv.session import load
    from edgecv.streaming.pipeline import FrameStream

    session = load(path, score_threshold=0.5 if "ssd" in path.name else None)
    if way == "predict":
        yield from (session.predict(pixels) for pixels in _noise(frames))
    elif way == "8 threads":
        yield from in_threads(session.predict, _noise(frames), workers=8)
    else:
        # Of a camera so many frames come that as many are answered.
        source = _Frames(frames if way == "video" else 10**9, live=way == "camera")
        for number, answer in enumerate(FrameStream(source, [session]).answers()):
            yield answer
            if number + 1 == frames:
                return


def _measure(way: str, path: Path, frames: int) -> dict[str, Any]:
    readings = []
    for number, _ in enumerate(_answers(way, path, frames), 1):
        if number >= _WARM and number % 100 == 0:
            readings.append(_resident())
    return {"frames": frames, "mb_warm": readings[0], "mb_end": readings[-1], "mb_most": max(readings)}


def _artifact(name: str, form: str, folder: Path) -> Path:
    path = folder / f"{name}.{form}"
    if not path.exists():
        command = [sys.executable, "-m", "edgecv.cli", "export", name, "--weights", "random", "--to", form]
        subprocess.run([*command, "-o", str(path)], check=True, stdout=sys.stderr)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_NETWORKS, default=_NETWORKS)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "edgecv-memory")
    parser.add_argument("--way", choices=_WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--artifact", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(_measure(options.way, options.artifact, options.frames)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        for form in _FORMATS:
            path = _artifact(name, form, options.folder)
            for way in _WAYS:
                command = [sys.executable, __file__, "--way", way, "--artifact", str(path)]
                done = subprocess.run([*command, "--frames", str(options.frames)], check=True, capture_output=True)
                figures = {key: round(value, 1) for key, value in json.loads(done.stdout).items()}
                row = {"network": name, "format": form, "way": way, **figures}
                print(row, flush=True)
                update_csv(Path(__file__).with_suffix(".csv"), [row], ("network", "format", "way"))


if __name__ == "__main__":
    main()
