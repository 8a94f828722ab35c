"""What holds for the whole process while a run trains in it: device, precision, determinism and seeds."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from edgecv.errors import DeviceError, TrainingError
from edgecv.extras import import_keras, require
from edgecv.quiet import quiet_frameworks
from edgecv.training.settings import Settings

__all__ = ["check_device", "prepared"]

_LEAST_CAPABILITY = (7, 0)  # of a GPU with tensor cores


def check_device(device: str) -> None:
    """Refuse a device that cannot be trained on, before anything is read.

    Raises:
        DeviceError: There is no such device.
        MissingExtraError: TensorFlow is not installed.
    """
    if device not in ("cpu", "cuda"):
        raise DeviceError(f"Unknown device {device!r}. Choose cpu or cuda.")
    require("tensorflow", extra="train", purpose="Training")
    if device == "cuda" and not _gpus():
        raise DeviceError("TensorFlow finds no GPU for --device cuda. Run: pip install 'edgecv[all-gpu]'")


@contextlib.contextmanager
def prepared(settings: Settings, device: str) -> Iterator[None]:
    """Choose them; afterwards Keras' precision is again what it was.

    Determinism, the choice of the device and the seeds of Python, NumPy and TensorFlow stay: TensorFlow takes none of
    them back.

    Args:
        settings: Of the run.
        device: ``cpu`` or ``cuda``.

    Raises:
        DeviceError: There is no such device, or TensorFlow has begun on another one.
        TrainingError: Keras runs on another backend.
        MissingExtraError: TensorFlow is not installed.
    """
    check_device(device)
    import_keras()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise TrainingError(
            f"Training needs Keras on TensorFlow, KERAS_BACKEND is {keras.backend.backend()!r}. Unset KERAS_BACKEND."
        )
    gpus = _choose(device)
    if settings.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16" if _is_mixed(settings, gpus) else "float32")
    keras.utils.set_random_seed(settings.seed)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _gpus() -> Sequence[Any]:
    with quiet_frameworks():
        import tensorflow as tf

        found: Sequence[Any] = tf.config.list_physical_devices("GPU")
    return found


def _choose(device: str) -> Sequence[Any]:
    """Return the GPUs to train on; on the CPU hide them."""
    import tensorflow as tf

    gpus = _gpus()
    if device == "cuda" or not gpus:
        return gpus
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        raise DeviceError(
            "TensorFlow has begun on the GPU in this process. Train on cuda, or in another process."
        ) from error
    return ()


def _is_mixed(settings: Settings, gpus: Sequence[Any]) -> bool:
    if settings.mixed_precision == "auto":
        return bool(gpus) and _has_tensor_cores(gpus)
    return settings.mixed_precision == "on"


def _has_tensor_cores(gpus: Sequence[Any]) -> bool:
    import tensorflow as tf

    details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
    return all(detail.get("compute_capability", (0, 0)) >= _LEAST_CAPABILITY for detail in details)
