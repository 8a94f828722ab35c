"""Plugins that write folders, start from another's artifact, have options, tolerances and limits of their own."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import edgecv
from edgecv import metadata, registry
from edgecv.cli import cli
from edgecv.errors import ArtifactError, DigestError, OptionError, OutputError, PluginError
from edgecv.exporting import make_exporter, runtime_of_exporter, tolerance_of_exporter
from edgecv.session import runtime_of

# Two formats that are folders around an ONNX file, and the runtime of one of them.
_CODE = """
import dataclasses
import shutil
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from edgecv.exporter import same_precision
from edgecv.runtimes.folder import read_folder_metadata, write_folder_metadata
from edgecv.runtimes.onnxruntime import OnnxRuntime


@dataclass(frozen=True, kw_only=True)
class Boxed:
    summary: ClassVar[str] = "an ONNX file in a folder"
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16", "int8")
    source: ClassVar[str] = "onnx"
    runtime: ClassVar[str] = "boxed"
    tolerances: ClassVar[dict[str, float]] = {"float32": 5e-5, "float16": 1.0}
    api_version: ClassVar[int] = 1

    precision: str = "float32"
    calibration: object = None
    float_layers: tuple[str, ...] = ()
    note: str = field(default="none", metadata={"help": "What stands in note.txt."})
    copies: int = 1
    style: Literal["plain", "fancy"] = "plain"
    loud: bool = False
    lines: tuple[str, ...] = ()
    broken: "Nowhere | None" = None

    @property
    def source_options(self):
        return same_precision(self)

    def unsupported(self, deployable):
        return "it has no room for 30x30 pictures" if deployable.input_size == (30, 30) else None

    def export(self, source, path):
        path.mkdir()
        for number in range(self.copies):
            folder = path / str(number)
            folder.mkdir()
            shutil.copyfile(source.path, folder / "model.onnx")
        (path / "note.txt").write_text(f"{self.note} {self.style} {self.loud} {','.join(self.lines)}")
        return dataclasses.replace(source, path=path)


class Loop(Boxed):
    source = "loop"


class BoxedRuntime(OnnxRuntime):
    suffixes = ("",)

    def opens(self, path):
        return (path / "note.txt").is_file()

    def open(self, path, **options):
        return super().open(path / "0" / "model.onnx", **options)

    def operators(self, path):
        return super().operators(path / "0" / "model.onnx")

    def custom_operators(self, path):
        return []

    def profile(self, path, *arguments, **options):
        return super().profile(path / "0" / "model.onnx", *arguments, **options)

    def multiply_adds(self, path, feeds):
        return super().multiply_adds(path / "0" / "model.onnx", feeds)

    read_metadata = staticmethod(read_folder_metadata)
    write_metadata = staticmethod(write_folder_metadata)
"""


@pytest.fixture(autouse=True)
def _plugin(plugins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    exporters = {"boxed": "Boxed", "boxed2": "Boxed", "loop": "Loop"}
    entries = {"edgecv.exporters": exporters, "edgecv.runtimes": {"boxed": "BoxedRuntime"}}
    plugins.install(folder, monkeypatch, "edgecv_boxed_plugin", _CODE, entries)
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def test_a_folder_is_exported_verified_inspected_and_run(networks: Any, photo_folder: Path) -> None:
    original = networks.deployable("separable", labels=list("abcde"))
    artifact = edgecv.export(original, to="boxed", path="box", copies=2, note="hello")
    assert artifact.report is not None
    assert artifact.report.passed
    assert artifact.report.checks[0].tolerance == 5e-5
    assert sorted(path.name for path in Path("box").iterdir()) == ["0", "1", "edgecv.json", "note.txt"]
    document = json.loads(Path("box/edgecv.json").read_text())
    assert document["tolerance"] == 5e-5
    assert document["settings"]["note"] == "hello"
    assert document["verification"]["cases"]
    assert artifact.nbytes == sum(path.stat().st_size for path in Path("box").rglob("*") if path.is_file())
    session = edgecv.load("box")
    plain = edgecv.export(original, to="onnx", path="x.onnx", verify=False)
    picture = str(next(photo_folder.iterdir()))
    assert session.predict(picture) == edgecv.load(plain.path).predict(picture)
    assert edgecv.verify("box").passed
    assert edgecv.verify("box", against=original).passed
    inspected = json.loads(run("inspect", "box", "--json").stdout)
    assert inspected["intact"]
    assert inspected["bytes"] == artifact.nbytes
    assert inspected["format"] == "boxed"


def test_a_folder_is_written_in_the_same_bytes_and_in_place_of_the_last_one(networks: Any) -> None:
    original = networks.deployable("separable")
    first = edgecv.export(original, to="boxed", path="box", copies=2).sha256
    assert edgecv.export(original, to="boxed", path="box", note="other").sha256 != first
    assert not Path("box/1").exists()
    assert edgecv.export(original, to="boxed", path="box", copies=2).sha256 == first
    assert [path.name for path in Path().iterdir()] == ["box"]


@pytest.mark.parametrize("damage", ["changed", "renamed", "added", "removed"])
def test_damage_to_any_file_of_a_folder_is_seen(damage: str, networks: Any) -> None:
    edgecv.export(networks.deployable("separable"), to="boxed", path="box", copies=2)
    note = Path("box/note.txt")
    match damage:
        case "changed":
            note.write_text(note.read_text().replace("none", "done"))
        case "renamed":
            Path("box/1/model.onnx").rename("box/1/other.onnx")
        case "added":
            Path("box/1/new").touch()
        case "removed":
            Path("box/1/model.onnx").unlink()
    with pytest.raises(DigestError, match=r"^'box' is damaged: its digest disagrees. Export it again.$"):
        edgecv.load("box")
    result = run("verify", "box")
    assert result.exit_code == 1
    assert "its bytes disagree with its digest" in result.output


def test_a_folder_with_a_link_is_refused(networks: Any) -> None:
    edgecv.export(networks.deployable("separable"), to="boxed", path="box")
    Path("box/link").symlink_to("/etc")
    with pytest.raises(ArtifactError, match=r"^Artifact 'box' has 'link' in it, which is no file. Export it again.$"):
        edgecv.load("box")


def test_a_folder_that_is_no_artifact_is_kept(networks: Any) -> None:
    original = networks.deployable("separable")
    Path("mine").mkdir()
    Path("mine/work.txt").write_text("weeks of it")
    message = r"^Cannot write 'mine': this folder is no artifact of edgecv. Name another with -o.$"
    with pytest.raises(OutputError, match=message):
        edgecv.export(original, to="boxed", path="mine")
    with pytest.raises(OptionError, match=r"^boxed writes a folder, so the output cannot be 'x.onnx'.$"):
        edgecv.export(original, to="boxed", path="x.onnx")
    with pytest.raises(ArtifactError, match=r"^'mine' is no artifact: it is a folder without edgecv.json.$"):
        edgecv.load("mine")
    assert [path.name for path in Path().rglob("*")] == ["mine", "work.txt"]


def test_a_folder_that_no_runtime_opens_names_the_remedy(networks: Any) -> None:
    edgecv.export(networks.deployable("separable"), to="boxed", path="box")
    Path("box/note.txt").unlink()
    message = r"^No installed runtime opens the folder 'box'. Install the plugin that wrote it.$"
    with pytest.raises(ArtifactError, match=message):
        runtime_of(Path("box"))


def test_reduced_precision_goes_through_the_source(networks: Any) -> None:
    original = networks.deployable("separable")
    half = edgecv.export(original, to="boxed", path="half", precision="float16")
    assert half.speeds is not None
    assert half.report is not None
    assert half.report.checks[0].tolerance == 5e-3  # a plugin's own tolerance is the stricter one, or has no use
    assert runtime_of(Path("half"))[1].operators(Path("half"))["Cast"] > 1


def test_the_shell_takes_a_plugin_s_options(photo_folder: Path) -> None:
    options = ("--note", "hi", "--style", "fancy", "--loud", "--lines", "a", "--lines", "b", "--copies", "2")
    done = run("export", "fashion_cnn", "--to", "boxed", "--weights", "random", *options, "--json")
    assert done.exit_code == 0, done.output
    (artifact,) = json.loads(done.stdout)["artifacts"]
    assert artifact["path"] == "fashion_cnn"
    assert Path("fashion_cnn/note.txt").read_text() == "hi fancy True a,b"
    answers = json.loads(run("predict", "fashion_cnn", str(photo_folder), "--json").stdout)
    assert all(answer["results"] for answer in answers)


def test_a_format_s_help_shows_its_options() -> None:
    text = run("export", "--to", "boxed", "--help").stdout
    own = text[text.index("Options of boxed:") :]
    assert "--note TEXT" in own
    assert "What stands in note.txt. Default: none." in own
    assert "--style [plain|fancy]" in own
    assert "--loud / --no-loud" in own
    assert "--broken" not in text
    assert "--calibration" not in own
    assert "Options of" not in run("export", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "onnx", "--note", "x"), "No such option '--note'."),
        (("--to", "boxed", "--copies", "many"), "Invalid value for '--copies': 'many' is not a valid integer."),
        (
            ("--to", "boxed", "--to", "boxed2"),
            "boxed and boxed2 would both write 'fashion_cnn'. Export them one by one with -o.",
        ),
        (("--to", "loop"), "Exporter 'loop' starts from itself: loop → loop."),
        (("--to", "boxed", "-o", "x.onnx"), "boxed writes a folder, so the output cannot be 'x.onnx'."),
        (
            ("--to", "boxed", "--input-size", "30x30"),
            "boxed cannot write fashion_cnn: it has no room for 30x30 pictures.",
        ),
    ],
)
def test_what_does_not_fit_a_plugin_is_refused(arguments: tuple[str, ...], message: str) -> None:
    result = run("export", "fashion_cnn", "--weights", "random", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not list(Path().iterdir())


def test_a_plugin_may_not_take_a_name_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    factory: Any = registry.load_exporter("boxed")
    monkeypatch.setitem(factory.__dataclass_fields__, "seed", factory.__dataclass_fields__["copies"])
    monkeypatch.setattr(factory.__dataclass_fields__["copies"], "name", "seed")
    result = run("export", "fashion_cnn", "--to", "boxed")
    assert result.exit_code == 2
    assert "Exporter 'boxed' has an option --seed that `edgecv export` has already." in result.output


def test_what_an_exporter_says_of_itself() -> None:
    boxed = make_exporter("boxed", {})
    found = runtime_of_exporter(boxed)
    assert found is not None
    assert found[0] == "boxed"
    assert tolerance_of_exporter(boxed) == 5e-5
    assert tolerance_of_exporter(make_exporter("onnx", {})) == 1e-4
    with pytest.raises(PluginError, match=r"^Exporter 'loop' starts from itself: loop → loop.$"):
        make_exporter("loop", {})


def test_a_recorded_tolerance_cannot_be_looser_than_the_contract(networks: Any) -> None:
    edgecv.export(networks.deployable("separable"), to="boxed", path="box")
    document = json.loads(Path("box/edgecv.json").read_text())
    metadata.seal(Path("box"), {**document, "tolerance": 0.5}, runtime_of(Path("box"))[1])
    assert edgecv.verify("box").checks[0].tolerance == 1e-4
