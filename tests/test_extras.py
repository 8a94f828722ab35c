"""What is not installed, or only half, is said in one line with what mends it; each seen by a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgecv.errors import MissingExtraError
from edgecv.extras import missing_any, require

_IMPORTS = """
from edgecv.errors import EdgecvError
from edgecv.extras import import_keras
try:
    import_keras()
except EdgecvError as error:
    print(f"{type(error).__name__}: {error}")
"""


def imported(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.rstrip("\n")


def test_a_missing_package_is_named_with_its_extra() -> None:
    require("json", extra="export", purpose="Reading")
    with pytest.raises(MissingExtraError) as raised:
        require("nowhere_at_all", extra="export", purpose="Flying")
    assert str(raised.value) == (
        "Flying needs nowhere_at_all, which is not installed. Run: pip install 'edgecv[export]'"
    )
    assert (raised.value.package, raised.value.extra) == ("nowhere_at_all", "export")
    assert missing_any(("json", "zlib"), extra="onnx") is None
    assert missing_any(("json", "nowhere_at_all"), extra="onnx") == (
        "nowhere_at_all is not installed. Run: pip install 'edgecv[onnx]'"
    )


@pytest.mark.parametrize(
    ("package", "code", "backend", "message"),
    [
        (
            "jax",
            "raise ModuleNotFoundError(\"No module named 'jax'\", name='jax')",
            "jax",
            "OptionError: KERAS_BACKEND is 'jax', but Keras cannot import jax. Install it, or unset KERAS_BACKEND.",
        ),
        (
            None,
            "",
            "abacus",
            "OptionError: KERAS_BACKEND is 'abacus', but Keras says: Unable to import backend : abacus. "
            "Unset KERAS_BACKEND.",
        ),
        (
            "tensorflow",
            "raise ModuleNotFoundError(\"No module named 'tensorflow'\", name='tensorflow')",
            "tensorflow",
            "MissingExtraError: Keras needs tensorflow, which is not installed. Run: pip install 'edgecv[export]'",
        ),
        (
            "tensorflow",
            "raise ImportError(\"cannot import name 'x' from 'google.protobuf'\", name='google.protobuf')",
            "tensorflow",
            "EdgecvError: Keras is installed but cannot be imported: ImportError: cannot import name 'x' from "
            "'google.protobuf'. Run: pip install --force-reinstall 'edgecv[export]'",
        ),
        (
            "tensorflow",
            "raise TypeError('Descriptors cannot be created directly.\\nDowngrade protobuf.')",
            "tensorflow",
            "EdgecvError: Keras is installed but cannot be imported: TypeError: Descriptors cannot be created "
            "directly. Downgrade protobuf. Run: pip install --force-reinstall 'edgecv[export]'",
        ),
    ],
    ids=["no backend", "unknown backend", "no TensorFlow", "half a protobuf", "another protobuf"],
)
def test_a_keras_that_cannot_start_is_one_line(
    package: str | None, code: str, backend: str, message: str, tmp_path: Path
) -> None:
    if package is not None:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(code)
    assert imported(PYTHONPATH=str(tmp_path), KERAS_BACKEND=backend) == message


def test_ctrl_c_while_a_compiled_module_starts_is_no_broken_keras(tmp_path: Path) -> None:
    (tmp_path / "keras").mkdir()
    # What a module written in C++ makes of it.
    (tmp_path / "keras" / "__init__.py").write_text(
        "try:\n    raise KeyboardInterrupt\n"
        "except KeyboardInterrupt as error:\n    raise ImportError('initialization failed') from error\n"
    )
    code = (
        "from edgecv.extras import import_keras\n"
        "try:\n    import_keras()\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
