"""`edgecv.export`: what is written carries its proof, and what fails leaves nothing behind."""

import base64
import dataclasses
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from edgecv_onnx import OnnxExporter

import edgecv
from edgecv import pipeline, recorded, verify
from edgecv.artifact import Artifact
from edgecv.calibration import Calibration
from edgecv.deployable import Deployable
from edgecv.errors import (
    ArtifactError,
    ConversionError,
    DeviceError,
    EdgecvError,
    OptionError,
    OutputError,
    PictureError,
    UnknownNameError,
    VerificationError,
)
from edgecv.exporting import default_name, make_exporter
from edgecv.original import original_answers
from edgecv.patterns import pattern
from edgecv.pipeline import Original, export
from edgecv.registry import exporter_names
from edgecv.report import Report
from edgecv.session import runtime_of


@dataclass(frozen=True, kw_only=True)
class Lying:
    """An exporter whose artifact adds to the first class; what a wrong conversion looks like."""

    summary: ClassVar[str] = "wrong on purpose"
    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    source: ClassVar[str] = "deployable"
    api_version: ClassVar[int] = 1

    precision: str = "float32"
    added: float = 0.01

    def export(self, source: Deployable | Artifact, path: Path) -> Artifact:
        assert isinstance(source, Deployable)
        network = source.network
        weights = network.get_weights()
        weights[-1][0] += self.added
        kept = network.get_weights()
        network.set_weights(weights)
        try:
            return OnnxExporter().export(source, path)
        finally:
            network.set_weights(kept)


@dataclass(frozen=True, kw_only=True)
class Text:
    """An exporter of a format that no runtime opens: the names of the layers."""

    summary: ClassVar[str] = "names of layers"
    suffix: ClassVar[str] = ".text"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "int8")
    source: ClassVar[str] = "deployable"
    api_version: ClassVar[int] = 1

    precision: str = "float32"

    def export(self, source: Deployable | Artifact, path: Path) -> Artifact:
        assert isinstance(source, Deployable)
        path.write_text("\n".join(layer.name for layer in source.network.layers))
        return Artifact(path=path)


@dataclass(frozen=True, kw_only=True)
class Folder(Text):
    """The same as a folder of empty files."""

    suffix: ClassVar[str] = ""
    fails: bool = False

    def export(self, source: Deployable | Artifact, path: Path) -> Artifact:
        assert isinstance(source, Deployable)
        path.mkdir()
        for layer in source.network.layers:
            (path / layer.name).touch()
        if self.fails:
            raise RuntimeError("half way")
        return Artifact(path=path)


class Leaving(Text):
    """A converter that was made for the command line."""

    def export(self, source: Deployable | Artifact, path: Path) -> Artifact:  # noqa: ARG002
        raise SystemExit(0)


class HalfAlone:
    """An exporter of one precision, and no dataclass: a plugin's, given as an object."""

    summary: ClassVar[str] = "half precision, without options"
    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[str, ...]] = ("float16",)
    source: ClassVar[str] = "deployable"
    api_version: ClassVar[int] = 1
    precision = "float16"

    def export(self, source: Deployable | Artifact, path: Path) -> Artifact:
        return OnnxExporter(precision="float16").export(source, path)


@dataclass(frozen=True, kw_only=True)
class EightBitsAlone:
    """The same of int8: its pictures are an option, its precision is not."""

    summary: ClassVar[str] = "int8 alone"
    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[str, ...]] = ("int8",)
    source: ClassVar[str] = "deployable"
    api_version: ClassVar[int] = 1

    calibration: Calibration | None = None

    @property
    def precision(self) -> str:
        return "int8"

    def export(self, source: Deployable | Artifact, path: Path) -> Artifact:
        return OnnxExporter(precision="int8", calibration=self.calibration).export(source, path)


@pytest.fixture(scope="module")
def original(networks: Any) -> Deployable:
    return networks.deployable("separable", labels=list("abcde"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def shared(original: Deployable) -> Original:
    return Original(original)


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def metadata(path: Path) -> dict[str, Any]:
    return runtime_of(path)[1].read_metadata(path)


def refused(kind: type[EdgecvError], *arguments: Any, **options: Any) -> str:
    with pytest.raises(kind) as raised:
        export(*arguments, **options)
    return str(raised.value)


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_an_artifact_comes_with_its_report_and_carries_it(form: str, original: Deployable, tmp_path: Path) -> None:
    path = tmp_path / f"x.{form}"
    artifact = edgecv.export(original, to=form, path=path)
    assert artifact.path == path
    assert entries(tmp_path) == [path.name]
    assert artifact.nbytes == path.stat().st_size
    assert artifact.seconds > 0
    assert [(each.name, each.shape, each.dtype) for each in artifact.outputs] == [("probabilities", (1, 5), "float32")]
    report = artifact.report
    assert report is not None
    assert report.passed
    (check,) = report.checks
    # Six photos that ship with edgecv and two pictures of noise.
    assert (check.images, check.batch, check.device, check.output) == (8, 1, "cpu", "probabilities")
    assert report.task == {"top1_agreement": 1.0}
    kept = metadata(path)
    cases = kept["verification"].pop("cases")
    assert kept["verification"] == report.to_json()
    assert [case["picture"] for case in cases] == ["pattern:0", "pattern:1", "pattern:2"]
    assert (kept["format"], kept["precision"], kept["model"]) == (form, "float32", "separable")
    assert kept["labels"] == list("abcde")


@pytest.mark.parametrize(("unsure", "kept"), [((2,), [0, 1]), ((0, 2), [1])])
def test_a_picture_on_which_rounding_decides_is_no_case(
    unsure: tuple[int, ...], kept: list[int], original: Deployable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers_hang_on_rounding(unsure, monkeypatch)
    artifact = export(original, to="onnx", path=tmp_path / "x.onnx")
    document = runtime_of(artifact.path)[1].read_metadata(artifact.path)
    assert [case["picture"] for case in document["verification"]["cases"]] == [f"pattern:{seed}" for seed in kept]
    assert verify(artifact.path).passed


def test_where_rounding_decides_on_all_pictures_nothing_is_written(
    original: Deployable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers_hang_on_rounding((0, 1, 2), monkeypatch)
    with pytest.raises(VerificationError, match=r"^separable fails its own recorded cases: 2 of 56 boxes differ"):
        export(original, to="onnx", path=tmp_path / "x.onnx")
    assert entries(tmp_path) == []


def _answers_hang_on_rounding(unsure: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cases of these patterns fail as those of detectors do."""
    sound = recorded.verify_recorded

    def verify_recorded(path: Path, document: Any, *rest: Any) -> Report:
        report = sound(path, document, *rest)
        pictures = [case["picture"] for case in document["verification"]["cases"]]
        if not any(f"pattern:{seed}" in pictures for seed in unsure):
            return report
        problem = "2 of 56 boxes differ at a limit, more than 2%"
        return dataclasses.replace(report, checks=(dataclasses.replace(report.checks[0], problem=problem),))

    monkeypatch.setattr(pipeline, "verify_recorded", verify_recorded)


def test_recorded_cases_are_the_originals_answers(original: Deployable, tmp_path: Path) -> None:
    export(original, to="onnx", path=tmp_path / "x.onnx")
    for case in metadata(tmp_path / "x.onnx")["verification"]["cases"]:
        picture = pattern(int(case["picture"].removeprefix("pattern:")), (24, 24, 3))
        recorded = case["outputs"]["probabilities"]
        assert (recorded["dtype"], recorded["step"]) == ("float32", 1)
        values = np.frombuffer(zlib.decompress(base64.b64decode(recorded["values"])), "<f4")
        np.testing.assert_allclose(values, original.run(picture[None])["probabilities"][0], rtol=1e-6)


def test_a_dynamic_batch_is_proven_at_1_and_at_3(networks: Any, tmp_path: Path) -> None:
    dynamic = networks.deployable("separable", batch=None)
    artifact = export(dynamic, to="onnx", path=tmp_path / "x.onnx")
    assert artifact.report is not None
    assert [check.batch for check in artifact.report.checks] == [1, 3]
    assert artifact.outputs[0].shape == (None, 5)


def test_two_formats_share_one_original(original: Deployable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    answer = original_answers

    def counted(deployable: Deployable, pictures: Any) -> Any:
        asked.append(len(pictures.names))
        return answer(deployable, pictures)

    monkeypatch.setattr("edgecv.pipeline.original_answers", counted)
    shared = Original(original)
    for form in ("onnx", "tflite"):
        export(shared, to=form, path=tmp_path / f"x.{form}")
    assert asked == [11]  # 8 to verify on, and 3 to record
    one, other = (metadata(tmp_path / f"x.{form}") for form in ("onnx", "tflite"))
    for key in ("model", "weights", "labels", "input", "outputs", "preprocess", "postprocess"):
        assert one[key] == other[key]
    assert one["verification"]["cases"] == other["verification"]["cases"]


@pytest.mark.parametrize("before", [None, b"older"])
def test_a_failed_verification_leaves_what_was_there(before: bytes | None, shared: Original, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(VerificationError) as raised:
        export(shared, to=Lying(), name="lying", path=path)
    report = raised.value.report
    (check,) = report.checks
    assert str(raised.value) == (
        "separable as onnx does not answer like the original: "
        f"relative difference {check.relative_diff:.1e} is above 1e-04: "
        f"'probabilities' on {check.worst} (onnxruntime, cpu, batch 1)"
    )
    assert not report.passed
    # 0.01 on one logit; the comparison may take off a constant, which halves it at most.
    assert 0.004 <= check.max_abs_diff <= 0.0101
    assert entries(tmp_path) == ([] if before is None else ["x.onnx"])
    assert before is None or path.read_bytes() == before


def test_without_verification_the_same_is_written_and_says_so(original: Deployable, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    artifact = export(original, to=Lying(), path=path, verify=False)
    assert artifact.report is None
    assert metadata(path)["verification"] == {}
    with pytest.raises(ArtifactError) as raised:
        edgecv.verify(path)
    assert str(raised.value) == (
        f"{str(path)!r} records no verification. Export it with --verify, or give --against MODEL."
    )
    assert not edgecv.verify(path, against=original).passed


def test_an_exporter_given_as_an_object_keeps_its_options(shared: Original, tmp_path: Path) -> None:
    for name, form in ((None, "OnnxExporter"), ("onnx", "onnx")):
        artifact = export(shared, to=OnnxExporter(opset=15), name=name, path=tmp_path / "x.onnx")
        assert artifact.details == {"opset": 15}
        kept = metadata(tmp_path / "x.onnx")
        assert (kept["format"], kept["opset"]) == (form, 15)


def test_options_of_an_exporter_given_by_name(shared: Original, tmp_path: Path) -> None:
    assert export(shared, to="onnx", path=tmp_path / "x.onnx", opset=17).details == {"opset": 17}
    assert make_exporter("onnx", {"opset": 17}) == OnnxExporter(opset=17)


def test_an_exporter_of_one_precision_is_not_held_against_float32(
    shared: Original, photo_folder: Path, tmp_path: Path
) -> None:
    half = export(shared, to=HalfAlone(), path=tmp_path / "half.onnx")
    assert (half.speeds, metadata(half.path)["precision"]) == (None, "float16")
    small = Calibration(paths=tuple(sorted(photo_folder.iterdir())[:20]))
    eight = export(shared, to=EightBitsAlone(calibration=small), path=tmp_path / "eight.onnx")
    assert eight.quantization is not None
    assert eight.speeds is not None
    assert eight.speeds.sizes.keys() == eight.speeds.p50_ms.keys() == {"all_int8", "written"}
    assert not eight.speeds.slower_than_float
    assert eight.quantization.summary()[-1].startswith("written 0.0")
    assert entries(tmp_path) == ["eight.onnx", "half.onnx"]


def test_a_plugin_of_one_precision_takes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecv.exporting.load_exporter", lambda _: EightBitsAlone)
    assert make_exporter("eight", {"precision": "int8"}) == EightBitsAlone()
    with pytest.raises(OptionError, match=r"^eight writes int8 alone, got float32\. Name that precision\.$"):
        make_exporter("eight", {"precision": "float32"})
    with pytest.raises(OptionError, match=r"^eight has no option 'opset'\. It has: calibration\.$"):
        make_exporter("eight", {"opset": 17})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "onnx", "path": "x.tflite"}, "onnx writes .onnx, so the output cannot be 'x.tflite'."),
        ({"to": "onnx", "path": "x"}, "onnx writes .onnx, so the output cannot be 'x'."),
        ({"to": "tflite", "path": "x.TFLITE"}, "tflite writes .tflite, so the output cannot be 'x.TFLITE'."),
        ({"to": Text(), "path": "x.txt"}, "Text writes .text, so the output cannot be 'x.txt'."),
        ({"to": Folder(), "path": "x.onnx"}, "Folder writes a folder, so the output cannot be 'x.onnx'."),
        (
            {"to": "onnx", "path": "x.onnx", "opsett": 13},
            "onnx has no option 'opsett'. It has: calibration, float_layers, opset, precision.",
        ),
        ({"to": "onnx", "path": "x.onnx", "opset": 99}, "opset must be 11 to 18, got 99."),
        ({"to": "onnx", "path": "x.onnx", "precision": "int3"}, "onnx writes float32, float16, int8, not 'int3'."),
        ({"to": Text(), "path": "x.text"}, "No installed runtime opens .text: install one, or use --no-verify."),
        (
            {"to": "onnx", "path": "x.onnx", "devices": ()},
            "There is no device to verify on. Give at least one, such as cpu.",
        ),
        (
            {"to": OnnxExporter(), "path": "x.onnx", "opset": 13},
            "'opset' has no use: the exporter given as to= has its options already.",
        ),
        ({"to": "onnx", "path": "x.onnx", "images": []}, "There are no pictures to verify on. Give at least one."),
    ],
)
def test_options_that_do_not_fit_are_refused_and_nothing_is_written(
    options: dict[str, Any],
    message: str,
    original: Deployable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(OptionError, original, **options) == message
    assert entries(tmp_path) == []


def test_other_errors_leave_nothing_either(
    original: Deployable, shared: Original, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(UnknownNameError, shared, to="onn", path="x.onnx") == (
        f"Unknown exporter 'onn'. Did you mean 'onnx'? Installed: {', '.join(exporter_names())}."
    )
    assert refused(DeviceError, shared, to="onnx", path="x.onnx", devices=["gpu"]) == (
        "ONNX Runtime has no device 'gpu' in edgecv. Use cpu or cuda."
    )
    assert refused(PictureError, original, to="onnx", path="x.onnx", images=["no.png"]) == (
        "Picture 'no.png' does not exist. Name a picture, a folder or a glob."
    )
    assert refused(OutputError, shared, to="onnx", path="no/x.onnx") == (
        "Cannot write 'no/x.onnx': the folder 'no' does not exist. Create it first."
    )
    assert refused(OptionError, Original(original, verify=False), to="onnx", path="x.onnx") == (
        "There is nothing to verify with: the original was made without pictures."
    )
    assert refused(OptionError, shared, to="onnx", path="x.onnx", images=["no.png"]) == (
        "images has no use: the original was made with its pictures already."
    )
    assert refused(PictureError, original, to="onnx", path="x.onnx", images=[np.zeros((9, 9, 3))]) == (
        "An array of float64 [9, 9, 3] is no picture. Give uint8 (height, width, 3) in RGB."
    )
    with pytest.raises(RuntimeError, match=r"^half way$"):
        export(original, to=Folder(fails=True), path="x", verify=False)
    assert entries(tmp_path) == []


def test_a_converter_does_not_end_the_program(original: Deployable, tmp_path: Path) -> None:
    expected = (
        r"^Leaving cannot be written: its converter would have ended the program: exit 0\. Report it to who made it\.$"
    )
    with pytest.raises(ConversionError, match=expected):
        export(original, to=Leaving(), path=tmp_path / "x.text", verify=False)
    assert entries(tmp_path) == []


def test_a_format_without_runtime_is_written_without_metadata(original: Deployable, tmp_path: Path) -> None:
    artifact = export(original, to=Text(), path=tmp_path / "x.text", verify=False)
    assert (artifact.report, artifact.path) == (None, tmp_path / "x.text")
    assert (tmp_path / "x.text").read_text().splitlines()[:2] == ["image", "stem"]


def test_a_folder_appears_under_its_name(original: Deployable, tmp_path: Path) -> None:
    artifact = export(original, to=Folder(), path=str(tmp_path / "x"), verify=False)
    assert entries(tmp_path) == ["x"]
    assert "stem" in entries(tmp_path / "x")
    assert artifact.nbytes == 0
    assert len(artifact.sha256) == 64


def test_pictures_of_the_user_are_what_is_verified_on(original: Deployable, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, shape, np.uint8) for shape in ((24, 40, 3), (50, 40), (31, 40, 1))]
    artifact = export(original, to="onnx", path=tmp_path / "x.onnx", images=images)
    assert artifact.report is not None
    assert artifact.report.checks[0].images == 5  # and two of noise
    # A device has none of these pictures: recorded are those that it can make again.
    cases = metadata(tmp_path / "x.onnx")["verification"]["cases"]
    assert [case["picture"] for case in cases] == ["pattern:0", "pattern:1", "pattern:2"]
    assert edgecv.verify(tmp_path / "x.onnx").passed


def test_default_names(original: Deployable) -> None:
    assert default_name(original, make_exporter("onnx", {})) == "separable.onnx"
    assert default_name(dataclasses.replace(original, name="mine"), Text(precision="int8")) == "mine-int8.text"
    assert default_name(original, Folder()) == "separable"
