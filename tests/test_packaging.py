"""What the distribution promises: its public names, its exporters, and how light it is to look at them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import edgecv
from edgecv import registry
from edgecv.errors import OptionError, UnknownNameError
from edgecv.exporting import make_exporter

_ROOT = Path(__file__).parents[1]
_HEAVY = {"tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert"}


def test_every_public_name_exists_and_every_name_is_public() -> None:
    assert set(edgecv.__all__) == {*edgecv._HOMES, "__version__"}
    assert all(getattr(edgecv, name) is not None for name in edgecv.__all__)


def test_version_is_the_distributions() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == edgecv.__version__


def test_folders_of_exporters_are_the_registered_ones() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    registered = {value.partition(":")[0] for value in project["entry-points"]["edgecv.exporters"].values()}
    assert {path.parent.name for path in (_ROOT / "exporters").glob("*/__init__.py")} == registered
    assert all((_ROOT / "exporters" / name / "py.typed").exists() for name in registered)


@pytest.mark.parametrize("name", registry.exporter_names())
def test_importing_an_exporter_is_cheap(name: str) -> None:
    code = f"import edgecv, sys; edgecv.load_exporter({name!r}); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not _HEAVY & set(loaded)


def test_unknown_exporter_is_one_line_with_a_hint() -> None:
    with pytest.raises(UnknownNameError, match=r"^Unknown exporter 'onxx'\. Did you mean 'onnx'\? Installed: "):
        edgecv.load_exporter("onxx")


def test_unknown_option_of_an_exporter_names_the_known_ones() -> None:
    known = r"calibration, float_layers, opset, precision"
    with pytest.raises(OptionError, match=rf"^onnx has no option 'opsett'\. It has: {known}\.$"):
        make_exporter("onnx", {"opsett": 13})


def test_readme_holds_exactly_two_commands_to_install() -> None:
    lines = (_ROOT / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("    pip install ")] == [
        '    pip install ".[all]" && edgecv export resnet50 --to onnx',
        '    pip install -e ".[test]" && pytest',
    ]
