"""Which engine opens TFLite files: ai-edge-litert, else tflite-runtime; and what is said where neither works."""

import importlib.machinery
import importlib.metadata
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from edgecv.errors import DeviceError, MissingExtraError
from edgecv.runtimes.litert import LiteRtRuntime
from edgecv.session import load

pytestmark = pytest.mark.parametrize("bare", ["tflite"], indirect=True)


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have tflite-runtime alone, with LiteRT's interpreter in its place; return what it opened."""
    from ai_edge_litert import interpreter as real

    opened: list[str] = []

    class Interpreter(real.Interpreter):  # type: ignore[misc]
        def __init__(
            self, model_path: str | None = None, model_content: bytes | None = None, num_threads: int | None = None
        ) -> None:
            if model_path is not None:
                opened.append(model_path)
            super().__init__(model_path=model_path, model_content=model_content, num_threads=num_threads)

    for name, content in (("tflite_runtime", {}), ("tflite_runtime.interpreter", {"Interpreter": Interpreter})):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    # As where it is not installed.
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    return opened


def test_tflite_runtime_opens_files_where_it_alone_is_installed(artifact: Path, old: list[str]) -> None:
    assert LiteRtRuntime().missing() is None
    (best, *_) = load(artifact, threads=1).predict(np.full((4, 4, 3), (255, 0, 0), np.uint8))
    assert (best["label"], round(best["score"], 3)) == ("red", 1.0)
    assert old == [str(artifact)]


def test_litert_goes_first_where_both_are_installed(
    artifact: Path, old: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ai_edge_litert")
    load(artifact)
    assert old == []


def test_without_either_the_extra_is_named(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    assert LiteRtRuntime().devices() == ()
    with pytest.raises(MissingExtraError) as raised:
        load(artifact)
    assert str(raised.value) == (
        "Opening .tflite files needs ai-edge-litert, which is not installed. Run: pip install 'edgecv[tflite]'"
    )


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize(("numpy", "works"), [("1.26.4", True), ("2.4.6", False)])
def test_tflite_runtime_needs_the_numpy_it_was_built_for(
    numpy: str, works: bool, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"tflite-runtime": "2.14.0", "numpy": numpy}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    if works:
        load(artifact)
        assert LiteRtRuntime().probe("cpu") is None
        return
    problem = (
        "tflite-runtime 2.14.0 was built for NumPy 1 and cannot run beside NumPy 2.4.6. Run: pip install 'numpy<2'"
    )
    with pytest.raises(DeviceError) as raised:
        load(artifact)
    assert str(raised.value) == problem
    assert LiteRtRuntime().probe("cpu") == problem
