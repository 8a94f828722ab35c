"""Many pictures, answered side by side: the same answers, in the same order, with the same errors."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecv import side_by_side
from edgecv.errors import ArtifactError, PictureError
from edgecv.pictures import Picture, read_picture
from edgecv.session import Session, load
from edgecv.side_by_side import answer_all, open_sessions


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def have(count: int) -> None:
        monkeypatch.setattr(side_by_side, "cores", lambda: count)

    return have


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Forty pictures, each of a grey of its own; the 5th is none, the 7th is not there."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(40):
        Image.new("RGB", (16, 12), (number,) * 3).save(folder / f"{number:02d}.png")
    (folder / "05.png").write_bytes(b"no picture")
    (folder / "07.png").unlink()
    return [str(folder / f"{number:02d}.png") for number in range(40)]


def scores(sources: list[str], sessions: list[Session]) -> list[Any]:
    found = {}
    for place, picture, prediction in answer_all(sessions, sources, top_k=1):
        if prediction is None:
            assert isinstance(picture, PictureError)
            found[place] = str(picture)
        else:
            assert not isinstance(picture, PictureError)
            assert picture.source == sources[place]
            found[place] = round(prediction.results[0]["score"] * 255)
    return [found[place] for place in range(len(sources))]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_answers_are_those_of_one_session_in_order(
    count: int, artifact: Path, pictures: list[str], cores: Callable[[int], None]
) -> None:
    cores(count)
    sessions = open_sessions(artifact, pictures=len(pictures) * 2)
    assert len(sessions) == count
    found = scores(pictures, sessions)
    assert "is damaged or no picture" in found.pop(5)
    assert "does not exist" in found.pop(6)
    assert found == [number for number in range(40) if number not in (5, 7)]


def test_onnx_runtime_shares_its_weights_and_litert_has_copies(artifact: Path, cores: Callable[[int], None]) -> None:
    cores(2)
    sessions = open_sessions(artifact, pictures=200)
    assert len({id(session) for session in sessions}) == (1 if artifact.suffix == ".onnx" else 2)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"pictures": 31}, 1),  # opening twice would take longer
        ({"pictures": 32}, 2),
        ({"pictures": 200}, 4),
        ({"pictures": 200, "threads": 2}, 1),  # the user shares the cores
    ],
)
def test_how_often_an_artifact_is_opened(
    settings: dict[str, Any], count: int, artifact: Path, cores: Callable[[int], None]
) -> None:
    cores(16)
    assert len(open_sessions(artifact, **settings)) == count


def test_weights_are_not_copied_without_end(
    artifact: Path, cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(2)
    monkeypatch.setattr(side_by_side, "_MOST_COPIED", 10)
    assert len(open_sessions(artifact, pictures=200)) == (2 if artifact.suffix == ".onnx" else 1)


def test_few_pictures_are_in_memory_at_a_time(
    artifact: Path, pictures: list[str], cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(2)
    read: list[str] = []

    def noted(source: str) -> Picture:
        read.append(source)
        return read_picture(source)

    monkeypatch.setattr("edgecv.side_by_side.read_picture", noted)
    answers = answer_all(open_sessions(artifact, pictures=40), pictures, top_k=1)
    next(answers)
    time.sleep(0.2)
    assert len(read) <= 4
    answers.close()  # type: ignore[attr-defined]
    time.sleep(0.1)
    assert len(read) <= 4


def test_an_answer_that_is_no_number_ends_it(
    artifact: Path, pictures: list[str], cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(2)
    sessions = open_sessions(artifact, pictures=40)
    run = Session.run

    def broken(self: Session, batch: Any) -> Any:
        return {name: np.full_like(values, np.nan) for name, values in run(self, batch).items()}

    monkeypatch.setattr(Session, "run", broken)
    before = threading.active_count()
    with pytest.raises(ArtifactError):
        list(answer_all(sessions, pictures, top_k=1))
    assert threading.active_count() == before


def test_predict_answers_two_hundred_pictures_as_one_at_a_time(artifact: Path, pictures: list[str]) -> None:
    session = load(artifact)
    good = [source for source in pictures if Path(source).name not in ("05.png", "07.png")] * 5
    command = [sys.executable, "-m", "edgecv.cli", "predict", str(artifact), *good, "--json"]
    answers = json.loads(subprocess.check_output(command, text=True))
    assert [answer["source"] for answer in answers] == good
    assert [answer["results"] for answer in answers[:38]] == [session.predict(source) for source in good[:38]]


def test_an_interrupt_ends_it_at_once(artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    picture = folder / "0.png"
    Image.effect_noise((1500, 1500), 90).save(picture)
    for number in range(1, 400):
        os.link(picture, folder / f"{number}.png")
    command = [sys.executable, "-m", "edgecv.cli", "predict", str(artifact), str(folder), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    assert process.poll() is None, "it was done before it could be interrupted"
    started = time.perf_counter()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error.strip()) == (130, "", "Error: Interrupted.")
    assert time.perf_counter() - started < 5
