"""A Keras network behind the `Session` that artifacts have: so both are run, and measured, by the same code."""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from edgecv.deployable import Deployable
from edgecv.errors import DeviceError, ModelError, OptionError, one_line
from edgecv.extras import import_keras
from edgecv.network_outputs import flat_tensors
from edgecv.pipeline import Original, describe
from edgecv.runtime import Arrays, Opened, TensorInfo
from edgecv.runtimes.feeds import check_feeds, check_threads
from edgecv.session import Session

__all__ = ["keras_session", "use_threads"]

# Keras' names of edgecv's devices.
_DEVICES = {"cpu": "cpu", "cuda": "gpu"}


def keras_session(deployable: Deployable, *, device: str = "cpu", compiled: bool = False) -> Session:
    """Open a Deployable as if it were an artifact.

    Its answers are those of `Deployable.run`. The batch is the network's, which is nearly always dynamic, whatever
    the Deployable's own: Keras compiles nothing for it.

    Args:
        deployable: The network with all that the device needs.
        device: ``"cpu"`` or ``"cuda"``.
        compiled: Trace the whole graph once where Keras runs on TensorFlow, as for measuring many pictures; weights may
            change afterwards. Its numbers differ by rounding.

    Raises:
        DeviceError: Keras sees no such device.
        ModelError: The network cannot run.
        MissingExtraError: Keras is not installed.
    """
    import_keras()
    with _on(device):
        original = Original(deployable, verify=False)
        document = {**describe(original), "format": "keras", "precision": "float32"}
    runner = KerasRunner(original, device, compiled=compiled)
    return Session(Path(deployable.name), document, runner, runtime_name="keras")


def use_threads(threads: int) -> None:
    """Set how many threads Keras' backend uses within an operation, before it has run any.

    Raises:
        OptionError: ``threads`` is below 1, comes too late, or the backend is none that edgecv can tell.
        MissingExtraError: Keras is not installed.
    """
    check_threads(threads)
    import_keras()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise OptionError(f"threads cannot be set for Keras on {keras.backend.backend()}. Leave it out.")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise OptionError("threads of TensorFlow can only be set before it has run. Leave it out.") from error


class KerasRunner(Opened):
    """A Deployable as a `Runner`."""

    def __init__(self, original: Original, device: str, *, compiled: bool = False) -> None:
        deployable = original.deployable
        batch = flat_tensors(deployable.network.inputs)[0].shape[0]
        self._deployable = deployable
        self._device = device
        super().__init__(
            inputs=(_of_batch(deployable.input, batch),),
            outputs=(_of_batch(output, batch) for output in original.outputs),
        )
        self._run = _compiled(deployable, self.inputs[0]) if compiled else deployable.run

    @property
    def deployable(self) -> Deployable:
        """What it runs."""
        return self._deployable

    @property
    def device(self) -> str:
        """The device that it runs on."""
        return self._device

    @property
    def provider(self) -> str:
        """Keras' version and backend."""
        import keras

        return f"Keras {keras.__version__} on {keras.backend.backend()}"

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """Run it on an array by the input's name.

        Raises:
            OptionError: The array's shape or type is not what it takes.
            ModelError: The network cannot run.
        """
        check_feeds(feeds, self.inputs)
        with _on(self._device):
            return self._run(feeds[self.inputs[0].name])


def _compiled(deployable: Deployable, info: TensorInfo) -> Callable[[Any], Arrays]:
    """Return what `Deployable.run` does, as one traced function; elsewhere than on TensorFlow, that itself."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return deployable.run
    import tensorflow as tf

    signature = [tf.TensorSpec(info.shape, info.dtype)]
    traced = tf.function(lambda images: deployable.graph(images)[0], input_signature=signature, autograph=False)

    def run(images: Any) -> Arrays:
        try:
            return {name: tensor.numpy() for name, tensor in traced(tf.convert_to_tensor(images)).items()}
        except Exception as error:  # custom layers may raise anything
            raise ModelError(f"{deployable.name} cannot run: {one_line(error)}.") from error

    return run


def _of_batch(info: TensorInfo, batch: int | None) -> TensorInfo:
    return TensorInfo(name=info.name, shape=(batch, *info.shape[1:]), dtype=info.dtype)


def _on(device: str) -> AbstractContextManager[Any]:
    """Return a context in which Keras computes on a device.

    Raises:
        DeviceError: There is none.
    """
    import keras

    if device not in _DEVICES:
        raise DeviceError(f"Keras has no device {device!r} in edgecv. Use cpu or cuda.")
    if device == "cuda" and not keras.distribution.list_devices("gpu"):
        raise DeviceError(
            "Device 'cuda' does not run: Keras sees no GPU. Check the driver with nvidia-smi; "
            "run: pip install 'tensorflow[and-cuda]'"
        )
    if device == "cpu" and not keras.distribution.list_devices("gpu"):
        return contextlib.nullcontext()  # there is nowhere else
    place: AbstractContextManager[Any] = keras.device(f"{_DEVICES[device]}:0")
    return place
