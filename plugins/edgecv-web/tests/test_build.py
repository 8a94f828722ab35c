"""What is taken out of the npm package when the plugin is built."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[1]


@pytest.fixture
def hook() -> Any:
    pytest.importorskip("hatchling", reason="hatchling is in the extra [test]")
    spec = importlib.util.spec_from_file_location("hatch_build", _ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_installed_is_what_was_pinned(hook: Any) -> None:
    from edgecv_web.site import ENGINE_FILES, vendored

    assert hook._is_complete(vendored())
    assert set(ENGINE_FILES) == set(hook._FILES.values())
    assert json.loads((vendored() / "package.json").read_text())["version"] == "1.30.0"


def test_without_npm_and_cache_a_build_says_what_to_do(
    hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDGECV_ONNXRUNTIME_WEB", raising=False)
    message = (
        r"^Building edgecv-web needs onnxruntime-web 1.30.0, and npm is not installed. Run: npm pack "
        r"onnxruntime-web@1.30.0 where there is a network, and name that file in EDGECV_ONNXRUNTIME_WEB.$"
    )
    with pytest.raises(SystemExit, match=message):
        hook._package()
    assert list(tmp_path.iterdir()) == []


def test_another_package_is_refused(hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = tmp_path / "onnxruntime-web-1.30.0.tgz"
    given.write_bytes(b"another")
    monkeypatch.setenv("EDGECV_ONNXRUNTIME_WEB", str(given))
    with pytest.raises(SystemExit, match=r"^EDGECV_ONNXRUNTIME_WEB names '.*', which is not onnxruntime-web 1.30.0.$"):
        hook._package()
    fake = tmp_path / "npm"
    fake.write_text('#!/bin/sh\ncp "$0" "$6/x.tgz"\n')
    fake.chmod(0o755)
    monkeypatch.delenv("EDGECV_ONNXRUNTIME_WEB")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(
        SystemExit, match=r"^npm gave another onnxruntime-web 1.30.0 than the pinned one: its sha512.*$"
    ):
        hook._package()
    assert not (tmp_path / "cache").exists()
