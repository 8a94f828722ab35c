"""Checkpoints: the state of a run after an epoch, in one file that appears whole.

Random draws of the pictures' order and of augmentation depend on seed and epoch alone; what has to be kept is the
network, the states of its random generators (Dropout's), the optimizer and what was measured.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.errors import TrainingError, one_line
from edgecv.files import replace_whole

if TYPE_CHECKING:
    import keras

__all__ = ["Progress", "read_progress", "restore", "save_checkpoint"]

_PROGRESS = "progress"


@dataclass(kw_only=True)
class Progress:
    """Where a run stands.

    Attributes:
        epoch: Epochs that are done.
        stage: Number of the stage that the optimizer's state belongs to.
        best: The best value of the monitored metric so far.
        best_epoch: The epoch that reached it, from 1; 0 before the first.
        history: A row an epoch.
        stopped: Why it ended early, where it did.
    """

    epoch: int = 0
    stage: int = 0
    best: float | None = None
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: str | None = None


def save_checkpoint(path: Path, network: "keras.Model", progress: Progress) -> None:
    """Write the state of a compiled network and its optimizer.

    Raises:
        OutputError: It cannot be written; the checkpoint before stays.
    """
    arrays: dict[str, Any] = {f"{number:05d}": _values(variable) for number, variable in enumerate(_variables(network))}
    text = np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)
    # As an open file, whose name NumPy leaves alone.
    with replace_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_PROGRESS: text, **arrays})


def read_progress(path: Path) -> Progress | None:
    """Read where a run stands; None where it has no checkpoint yet.

    Raises:
        TrainingError: The checkpoint is damaged.
    """
    if not path.exists():
        return None
    try:
        # NumPy leaves a damaged file open that it opened itself.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return Progress(**json.loads(file[_PROGRESS].tobytes()))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        # NumPy takes what is no archive for a pickle, and recommends to trust it.
        problem = "it is no checkpoint of edgecv" if isinstance(error, ValueError) else one_line(error)
        raise TrainingError(f"The checkpoint {str(path)!r} is damaged: {problem}. Train again with --force.") from error


def restore(path: Path, network: "keras.Model", *, optimizer: bool) -> None:
    """Put the state of a checkpoint into a compiled network of the same kind.

    Args:
        path: The checkpoint.
        network: Compiled as when it was saved.
        optimizer: Restore the optimizer, too; not at the beginning of another stage.

    Raises:
        TrainingError: The checkpoint is damaged or belongs to another network.
    """
    wanted = _variables(network)
    kept = len(wanted) if optimizer else len(_of_network(network))
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for number, variable in enumerate(wanted[:kept]):
                variable.assign(file[f"{number:05d}"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"The checkpoint {str(path)!r} does not fit {network.name!r}: {one_line(error)}. Train again with --force."
        ) from error


def _variables(network: "keras.Model") -> list[Any]:
    return [*_of_network(network), *network.optimizer.variables]


def _of_network(network: "keras.Model") -> list[Any]:
    weights: Sequence[Any] = network.weights
    known = {id(variable) for variable in weights}
    # Beside weights, the states of random generators; those of metrics begin anew with each epoch.
    generators = [each for each in network.variables if id(each) not in known and "seed_generator" in each.path]
    return [*weights, *generators]


def _values(variable: Any) -> np.ndarray[Any, Any]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(variable.value))
