"""One session, many threads: each gets the answers to its own pictures."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.session import Session, load

THREADS = 8


def grey(value: int, side: int = 16) -> Any:
    return np.full((side, side, 3), value, np.uint8)


def red(results: list[dict[str, Any]]) -> int:
    (score,) = (float(each["score"]) for each in results if each["class"] == 0)
    return round(255 * score)


def answered_in_threads(session: Session) -> None:
    begin = threading.Barrier(THREADS)

    def work(thread: int) -> list[tuple[int, int]]:
        begin.wait(20)
        values = range(thread, 256, THREADS)
        return [(value, red(session.predict(grey(value)))) for value in values]

    with ThreadPoolExecutor(THREADS) as pool:
        pairs = [pair for each in pool.map(work, range(THREADS)) for pair in each]
    assert len(pairs) == 256
    assert all(given == found for given, found in pairs)


def test_eight_threads_share_a_session(artifact: Path) -> None:
    answered_in_threads(load(artifact))


def test_eight_threads_share_a_session_of_a_dynamic_batch(dynamic: Path) -> None:
    session = load(dynamic)
    with ThreadPoolExecutor(THREADS) as pool:
        # Batches of several sizes: LiteRT resizes its tensors between them.
        batches = [np.stack([grey(10 * size + each, 4) for each in range(size)]) for size in range(1, 9)] * 8
        for batch, outputs in zip(batches, pool.map(session.run, batches), strict=True):
            found = np.rint(255 * outputs["probabilities"][:, 0]).astype(int).tolist()
            assert found == batch[:, 0, 0, 0].tolist()


def test_only_engines_that_can_run_side_by_side(artifact: Path) -> None:
    session = load(artifact)
    inside, most = 0, 0
    count = threading.Lock()
    run = session.runner.run

    def counted(feeds: Any) -> Any:
        nonlocal inside, most
        with count:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.02)
        try:
            return run(feeds)
        finally:
            with count:
                inside -= 1

    session.runner.run = counted  # type: ignore[method-assign]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: session.predict(grey(7)), range(8)))
    assert (most > 1) == (artifact.suffix == ".onnx")
