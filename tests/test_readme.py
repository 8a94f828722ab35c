"""The README is true: its commands parse, its Python runs as printed, its map and numbers are those of the tree."""

import ast
import contextlib
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import edgecv
from edgecv.cli import cli
from edgecv.photos import shipped_photos
from tests.plugins import install_folder

_ROOT = Path(__file__).parents[1]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Return every command of edgecv that the README prints, after a prompt or after ``&&``."""
    prompts = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    indented = [line.strip() for line in _README.splitlines() if line.startswith("    ")]
    parts = [part.strip() for line in [*prompts, *indented] for part in line.split("&&")]
    return [part for part in parts if part.startswith("edgecv ")]


def parse(line: str) -> click.Context:
    """Parse a command as a shell and click do, without running it."""
    _, *arguments = shlex.split(line, comments=True)
    # Commands keep the help option of the first context that they meet.
    with click.Context(cli, **cli.context_settings) as parent:
        name, command, rest = cli.resolve_command(parent, arguments)
        assert command is not None
        return command.make_context(name, rest, parent=parent)


def test_the_commands_are_found() -> None:
    assert len(commands()) >= 10
    assert commands()[0].startswith("edgecv export ")
    assert "edgecv export resnet50 --to onnx" in commands()
    names = {line.split()[1] for line in commands()}
    assert names >= {"export", "predict", "verify", "inspect", "list", "build", "doctor"}


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_readme_parses(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in re.findall(r"--to (\S+)", line):
        if form not in edgecv.exporter_names():  # its options are known where its plugin is
            plugin = _ROOT / "plugins" / f"edgecv-{form}"
            shutil.copytree(plugin / "src", tmp_path / form / "src")
            shutil.copy(plugin / "pyproject.toml", tmp_path / form)
            install_folder(tmp_path / form, monkeypatch)
    context = parse(line)
    made = (".onnx", ".tflite") if context.info_name == "evaluate" else ()
    assert set(context.params.get("formats", ())) <= set(edgecv.exporter_names())
    for key in ("model", "name", "against"):
        model = context.params.get(key)
        run = model == "run"
        assert model is None or run or model in edgecv.architecture_names() or Path(model).suffix in (".keras", *made)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("edgecv export resnet50 --too onnx", "No such option '--too'."),
        ("edgecv exprt resnet50", "Unknown command 'exprt'. Did you mean 'export'?"),
        ("edgecv export resnet50 --to onnx --batch none", "'none' is no batch."),
        ("edgecv predict my.onnx  # photos/", "Missing argument 'SOURCE...'"),
    ],
)
def test_a_wrong_command_would_be_found(line: str, message: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        parse(line)
    assert message in raised.value.format_message()


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        yield stream


@pytest.mark.parametrize("network", ["lenet5", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_the_python_runs_as_printed(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = blocks("python")
    assert "resnet50" in snippet
    monkeypatch.chdir(tmp_path)
    Image.fromarray(shipped_photos()["coffee"]).save("photo.jpg")
    with printed() as stream:
        # The quick run takes a small network; everything else is as printed.
        exec(compile(snippet.replace("resnet50", network), "README.md", "exec"), {"__name__": "__main__"})
    proof, answer = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"verified: largest relative difference \d\.\de-0[5-9] \(at most 1e-04\)(?: on \d+ pictures)?", proof
    )
    results = ast.literal_eval(answer)
    assert [set(result) for result in results] == [{"score", "class", "label"}] * 5
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] <= scores[0] <= sum(scores) < 1.001
    assert [entry.name for entry in tmp_path.glob("*.onnx")] == [f"{network}.onnx"]


def test_the_map_names_what_is_there() -> None:
    rows = [line for line in _README.partition("## Map of the tree")[2].splitlines() if line.startswith("| ")]
    assert len(rows) > 5
    for row in rows[1:]:
        for path in re.findall(r"`([\w./<>*-]+/[\w./<>*-]*|[\w-]+\.toml)`", row):
            assert list(_ROOT.glob(re.sub(r"<\w+>", "*", path))), path


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(((?!https?://|#)[^)]+)\)", _README)
    assert links
    assert [link for link in links if not (_ROOT / link.partition("#")[0]).exists()] == []


def test_the_number_of_architectures_is_the_real_one() -> None:
    (number,) = re.findall(r"(\d+) architectures by name", _README)
    assert int(number) == len(edgecv.architecture_names())


@pytest.mark.slow
def test_the_capture_is_a_real_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skimage import data
    from sklearn import datasets

    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(datasets.__file__).parent / "images" / "flower.jpg", "flower.jpg")
    Image.fromarray(np.asarray(data.coffee())).save("coffee.png")
    capture = next(block for block in blocks("console") if "predict efficientnet_lite0.tflite" in block)
    export, predict = [line for line in capture.splitlines() if line.startswith("$ edgecv ")]
    assert CliRunner().invoke(cli, shlex.split(export)[2:]).exit_code == 0
    result = CliRunner().invoke(cli, shlex.split(predict)[2:])
    assert result.exit_code == 0
    scores = re.compile(r"^  (0\.\d{4})  (.+)$", re.MULTILINE)
    told = scores.findall(capture.partition("$ edgecv predict")[2])
    real = {label: float(score) for score, label in scores.findall(result.stdout)}
    assert len(told) >= 2
    for score, label in told:
        assert real[label] == pytest.approx(float(score), abs=2e-4)
    sizes = re.compile(r"^(\w+\.\w+)  (\d+x\d+)  ", re.MULTILINE)
    assert sizes.findall(result.stdout) == sizes.findall(capture)
