"""What an artifact takes, checked before an engine sees it, and what an engine says to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgecv.errors import ArtifactError, EdgecvError, OptionError, one_line
from edgecv.runtime import Arrays, Runner, TensorInfo

__all__ = ["check_feeds", "check_threads", "describe", "run_engine"]


def check_feeds(feeds: Mapping[str, Any], inputs: Sequence[TensorInfo], optional: Sequence[TensorInfo] = ()) -> None:
    """Refuse arrays that the artifact does not take.

    Args:
        feeds: Arrays by input name.
        inputs: The required inputs.
        optional: Inputs that may be left out.

    Raises:
        OptionError: One is missing, unknown, or of another shape or type.
    """
    import numpy as np  # `edgecv list` imports runtimes and needs no arrays

    known = {info.name: info for info in (*inputs, *optional)}
    missing = [info.name for info in inputs if info.name not in feeds]
    unknown = [name for name in feeds if name not in known]
    if missing or unknown:
        problem = f"lacks {missing[0]!r}" if missing else f"has the unknown {unknown[0]!r}"
        raise OptionError(f"The input {problem}; the artifact takes {', '.join(map(repr, known))}.")
    for name, array in feeds.items():
        given = np.asarray(array)
        if given.dtype.name != known[name].dtype or not _fits(given.shape, known[name].shape):
            raise OptionError(
                f"Input {name!r} takes {describe(known[name])}, got {given.dtype.name} {list(given.shape)}. "
                "Give an array of that shape and type."
            )


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that no engine can have.

    Raises:
        OptionError: It is below 1.
    """
    if threads is not None and threads < 1:
        raise OptionError(f"threads must be at least 1, got {threads}.")


def run_engine(runner: Runner, feeds: Mapping[str, Any]) -> Arrays:
    """Run an opened artifact; what its engine raises becomes one line.

    Raises:
        ArtifactError: The engine fails.
        EdgecvError: What else `Runner.run` raises.
    """
    try:
        return runner.run(feeds)
    except EdgecvError:
        raise
    except Exception as error:  # engines have types of their own, or none
        raise ArtifactError(
            f"The engine fails on the artifact: {one_line(error)}. Export it again, or free some memory."
        ) from error


def describe(info: TensorInfo) -> str:
    """Return type and shape for a person, such as ``uint8 [N, 224, 224, 3]``."""
    sides = ["any" if side is None else str(side) for side in info.shape]
    if info.shape and info.shape[0] is None:
        sides[0] = "N"
    return f"{info.dtype} [{', '.join(sides)}]"


def _fits(given: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    # No engine runs on an empty batch.
    same = (side > 0 and want in (None, side) for side, want in zip(given, wanted, strict=False))
    return len(given) == len(wanted) and all(same)
