"""What a network that learns is measured by: its own Deployable, so the decoding and suppression that will ship."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgecv.deploying import deploy
from edgecv.evaluation.evaluate import LIMITING_SCORE, evaluate
from edgecv.evaluation.selection import spread
from edgecv.keras_session import keras_session
from edgecv.nms import Nms
from edgecv.quiet import quiet_frameworks

if TYPE_CHECKING:
    import keras

    from edgecv.session import Session
    from edgecv.training.network import Learner
    from edgecv.training.run_data import RunData
    from edgecv.training.tasks import TrainingTask

__all__ = ["MEASURED", "measured_session", "measurer"]

# Precision over recall needs boxes of low scores, too; a device shows those above 0.25.
MEASURED = Nms(score_threshold=LIMITING_SCORE)
_BATCH = 32
# Without a validation part, so many training pictures are measured.
_MOST_TRAINING_PICTURES = 256


def measured_session(network: "keras.Model", *, device: str) -> "Session":
    """Open a network for measuring, with pictures in batches, and compiled where its backend can."""
    return keras_session(deploy(network, batch=None, nms=MEASURED), device=device, compiled=True)


def measurer(
    task: "TrainingTask", learner: "Learner", data: "RunData", *, device: str
) -> Callable[[], dict[str, float]] | None:
    """Make the function that measures the network as it is at the end of an epoch; None where the task needs none.

    Its figures are called as in ``evaluate --json``, with ``val_`` before them where they are of the validation part.
    """
    if not task.measured:
        return None
    prefix = "val_" if data.parts["val"] else ""
    samples = data.parts["val"] or spread(data.parts["train"], _MOST_TRAINING_PICTURES)
    with quiet_frameworks():
        session = measured_session(learner.deployable, device=device)

    def measure() -> dict[str, float]:
        learner.synchronise()
        with quiet_frameworks():
            figures = evaluate(session, data.dataset, samples, batch=_BATCH).to_json()
        return {f"{prefix}{name}": float(figures[name] or 0.0) for name in task.measured}

    return measure
