"""Keep the chatter of the frameworks away from the user."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

__all__ = ["quiet_frameworks"]

_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ABSL_MIN_LOG_LEVEL": "3",
    "GLOG_minloglevel": "3",
    "ORT_DISABLE_TELEMETRY": "1",
}
_LOGGERS = ("tensorflow", "tf2onnx", "absl", "h5py")


@contextlib.contextmanager
def quiet_frameworks() -> Iterator[None]:
    """Silence TensorFlow, tf2onnx and absl within the block; with ``EDGECV_DEBUG=1`` let them speak, on stderr.

    What C++ code writes goes past Python, so the file descriptors are turned away as well. When the
    block fails, nothing of it is shown: the error carries what matters.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(tempfile.TemporaryFile())
        loud = os.environ.get("EDGECV_DEBUG") == "1"
        # Standard output belongs to results: chatter never reaches it, not even when debugging.
        stack.enter_context(_redirected(1, 2 if loud else sink.fileno()))
        if not loud:
            stack.enter_context(_redirected(2, sink.fileno()))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(_loggers_at(logging.CRITICAL))
        yield


@contextlib.contextmanager
def _redirected(descriptor: int, target: int) -> Iterator[None]:
    saved = os.dup(descriptor)
    try:
        os.dup2(target, descriptor)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(saved, descriptor)
        os.close(saved)


@contextlib.contextmanager
def _loggers_at(level: int) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(level)
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)
