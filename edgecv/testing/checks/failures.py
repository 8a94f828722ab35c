"""What an exporter does with what it cannot do: one line, and nothing written."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgecv.errors import EdgecvError, one_line
from edgecv.quiet import quiet_frameworks
from edgecv.testing.bench import cannot
from edgecv.testing.cases import CASES, unconvertible
from edgecv.testing.check import Check, FailedError, SkippedError, demand

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgecv.testing.bench import Bench

__all__ = ["CHECKS"]

_GROUP = "Failures"


def _refuses_unsupported(bench: "Bench") -> None:
    from edgecv.pipeline import export

    refused: set[tuple[str, str]] = set()
    for precision in bench.factory.precisions:
        exporter = bench.exporter(precision)
        for case in CASES:
            deployable = bench.original(case).deployable
            reason = cannot(exporter, deployable)
            if reason is None:
                continue
            refused.add((case, precision))
            line = isinstance(reason, str) and reason.strip() and "\n" not in reason
            demand(line, f"unsupported() says {reason!r}, which is no line of text")
            path = bench.new_folder("refused") / f"artifact{exporter.suffix}"
            _one_line(lambda d=deployable, p=path, e=exporter: export(d, to=e, name=bench.name, path=p), path, case)  # type: ignore[misc]
    if not refused:
        raise SkippedError("it says of no network that it cannot write it")
    written = [case for case in CASES if (case, bench.base) not in refused]
    demand(written, "it says of every network that it cannot write it")


def _unconvertible(bench: "Bench") -> None:
    from edgecv.pipeline import export

    with quiet_frameworks():
        deployable = unconvertible()
    exporter = bench.exporter()
    path = bench.new_folder("unconvertible") / f"artifact{exporter.suffix}"
    try:
        _one_line(lambda: export(deployable, to=exporter, name=bench.name, path=path, verify=False), path, "it")
    except _TakenError:
        raise SkippedError("it can write a layer that runs Python") from None


def _missing_folder(bench: "Bench") -> None:
    from edgecv.pipeline import export

    exporter = bench.exporter()
    path = bench.new_folder("missing") / "no such folder" / f"artifact{exporter.suffix}"
    original = bench.original(bench.simplest)
    _one_line(lambda: export(original, to=exporter, name=bench.name, path=path, verify=False), path, "it")
    demand(not path.parent.exists(), "it makes the folder that the artifact should go to")
    _one_line(lambda: bench.direct(bench.simplest, path), path, "export()")
    demand(not path.parent.exists(), "export() makes the folder that the artifact should go to")


class _TakenError(FailedError):
    """Nothing was raised."""


def _one_line(call: "Callable[[], object]", path: Path, what: str) -> None:
    """Demand that a call fails with one line of edgecv's, and leaves nothing."""
    try:
        with quiet_frameworks():
            call()
    except EdgecvError as error:
        demand("\n" not in str(error).strip(), f"{what} is refused in several lines: {one_line(error)}")
    except Exception as error:
        problem = f"{what} raises {type(error).__name__}, which is no error of edgecv: {one_line(error)}"
        raise FailedError(problem) from error
    else:
        raise _TakenError(f"{what} is written all the same")
    left = sorted(each.name for each in path.parent.iterdir()) if path.parent.exists() else []
    demand(not left, f"{what} fails and leaves {', '.join(left)}")


CHECKS = (
    Check(
        name="refuses-unsupported",
        group=_GROUP,
        demands="What it says that it cannot write is refused in one line, with nothing written.",
        remedy="Return one line of text from unsupported(deployable), or None; the core refuses with it.",
        run=_refuses_unsupported,
    ),
    Check(
        name="unconvertible-layer",
        group=_GROUP,
        demands="A layer that cannot be converted is an EdgecvError in one line, with nothing written.",
        remedy="Catch what the converter raises and raise edgecv.errors.ConversionError(one_line(error)) from it.",
        run=_unconvertible,
    ),
    Check(
        name="missing-folder",
        group=_GROUP,
        demands="A folder that does not exist is an OutputError in one line, and is not made.",
        remedy="Write through `with edgecv.files.replace_whole(path) as temporary:`.",
        run=_missing_folder,
    ),
)
