"""model.keras of a run: what devices need of a network that learns."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgecv.models import save_model
from edgecv.training.network import Learner
from edgecv.training.run_dir import RunDir

if TYPE_CHECKING:
    import keras

__all__ = ["save_learner"]


def save_learner(learner: Learner, run_dir: RunDir) -> None:
    """Write the network as it is now, in float32 and without auxiliary outputs, under the name of its run.

    Raises:
        OutputError: It cannot be written; the file before stays.
    """
    network = learner.deployable
    if any(layer.compute_dtype != "float32" for layer in network.layers):
        network = _in_float32(network)
    network.edgecv_info = replace(learner.info, name=run_dir.path.resolve().name)
    save_model(network, run_dir.model)


def _in_float32(network: "keras.Model") -> "keras.Model":
    """Return a copy that computes in float32: devices choose their precision at export."""
    import keras

    def full(layer: Any) -> Any:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(network, clone_function=full)
    copy.set_weights(network.get_weights())
    return copy
