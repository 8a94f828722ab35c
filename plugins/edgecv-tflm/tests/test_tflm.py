"""The plugin beside what the conformance kit asks of every exporter: sources that compile and run, arenas, refusals."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import edgecv
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from edgecv.calibration import Calibration
from edgecv.cli import cli
from edgecv.errors import ArtifactError, ConversionError, OptionError, OutputError, UnsupportedLayerError
from edgecv.exporting import make_exporter
from edgecv.photos import shipped_photos
from edgecv.testing.cases import CASES, LABELS
from keras import Input, Model, layers
from PIL import Image

from edgecv_tflm import agreement
from edgecv_tflm.compiled import find_compiler
from edgecv_tflm.description import Description, Output, Tensor, read_description
from edgecv_tflm.identifiers import c_float, c_identifier, distinct
from edgecv_tflm.micro import Micro, MicroError
from edgecv_tflm.operators import METHODS
from edgecv_tflm.runtime import TflmRuntime
from edgecv_tflm.sources import read_arena, read_model, texts

RUNTIME = TflmRuntime()
STUBS = Path(__file__).with_name("stubs")
COMPILER = shutil.which("g++") or shutil.which("clang++")
compiles = pytest.mark.skipif(COMPILER is None or find_compiler() is None, reason="there is no C++ compiler")
ONE, NO_TOP_K = "a microcontroller looks at one picture at a time", "TensorFlow Lite Micro has no TOPK_V2"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    photos = list(shipped_photos().values())
    for index in range(40):
        photo = photos[index % len(photos)]
        top, left = (int(random.integers(0, side - 100)) for side in photo.shape[:2])
        Image.fromarray(photo[top : top + 100, left : left + 100]).resize((48, 48)).save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture(scope="module")
def calibration(pictures: Path) -> Calibration:
    return Calibration(paths=tuple(sorted(pictures.iterdir())[:8]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, calibration: Calibration) -> dict[str, Path]:
    """What is exported, by the name of its case."""
    folder = tmp_path_factory.mktemp("tflm")
    exporter = make_exporter("tflm", {"calibration": calibration})
    return {
        name: edgecv.export(CASES[name].deploy(), to=exporter, name="tflm", path=folder / name, verify=False).path
        for name in ("classifier", "detector", "every-anchor", "segmenter")
    }


def grey(folder: Path) -> Any:
    given = read_description(folder).input
    return np.full(given.shape, 128, given.dtype)


@pytest.fixture(scope="module")
def builds(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Compiles all sources of a folder, strictly, against stand-ins for TensorFlow Lite Micro's headers; runs main."""

    def run(name: str) -> list[str]:
        folder, build = folders[name], tmp_path_factory.mktemp("build")
        description = read_description(folder)
        for source in sorted(folder.glob("*.c*")):
            compiler = [COMPILER, "-std=c++11"] if source.suffix == ".cc" else [find_compiler(), "-std=c99"]
            command = [*compiler, *STRICT, f"-I{STUBS}", "-c", str(source), "-o", f"{source.stem}.o"]
            subprocess.run(command, cwd=build, check=True)  # type: ignore[arg-type]
        objects = sorted(each.name for each in build.glob("*.o"))
        subprocess.run([COMPILER, *objects, "-o", "main", "-lm"], cwd=build, check=True)  # type: ignore[list-item]
        micro = Micro()
        prefix = description.prefix
        model = micro.open(read_model(folder, prefix), read_arena(folder, prefix), len(description.heads))
        for place, values in enumerate(micro.run(model, grey(folder))):
            (build / f"output_{place}").write_bytes(values.tobytes())
        micro.close()
        done = subprocess.run(["./main"], cwd=build, check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    return run


@compiles
def test_the_main_of_a_classifier_compiles_and_says_what_the_runtime_says(
    folders: dict[str, Path], builds: Any
) -> None:
    lines = builds("classifier")
    folder = folders["classifier"]
    arena = read_arena(folder, "conformance_classifier")
    assert lines[0] == f"{arena} of {arena} bytes of the arena are taken."
    probabilities = RUNTIME.open(folder).run({"image": grey(folder)})["probabilities"][0]
    best = int(probabilities.argmax())
    assert lines[1:] == [f"{LABELS[best]}: {int(np.float32(1000) * probabilities[best])} thousandths"]


@compiles
def test_the_main_of_a_detector_compiles_and_finds_what_the_runtime_finds(
    folders: dict[str, Path], builds: Any
) -> None:
    lines = builds("detector")
    folder = folders["detector"]
    runner = RUNTIME.open(folder)
    assert runner.provider == "TensorFlow Lite Micro + compiled C"
    found = runner.run({"image": grey(folder)})
    count = int(found["count"][0])
    assert lines[-1] == f"{count} found."
    assert [line.partition(":")[0] for line in lines[1:-1]] == ["abc"[each] for each in found["classes"][0, :count]]


@compiles
@pytest.mark.parametrize("name", ["every-anchor", "segmenter"])
def test_other_mains_compile_and_run(name: str, builds: Any) -> None:
    assert len(builds(name)) == 2


@compiles
def test_labels_and_names_of_any_kind_are_c(tmp_path: Path) -> None:
    labels = ['say "no"', "two\nlines", "*/ int x; /*", "Käfer", "日本", "what??/", "\\", "%s%n", "tab\there", "\x0712"]
    outputs = (Output(name="class", symbol=c_identifier("class")), Output(name="*/", symbol="output"))
    head = Tensor(shape=(1, 4), dtype="int8", scale=0.5, zero_point=-3)
    picture = Tensor(shape=(1, 2, 2, 1), dtype="uint8", scale=1.0)
    description = Description(prefix=c_identifier("*/ int"), input=picture, heads=(head, head), outputs=outputs)
    files = texts(description, bytes(range(40)), arena=64, operators=["CONV_2D"], labels=labels)
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    (tmp_path / "print.cc").write_text(
        '#include <stdio.h>\n#include "int_model.h"\n'
        "int main() { for (int at = 0; at < INT_LABELS; ++at) { fputs(int_labels[at], stdout); putchar(0); } }\n"
    )
    for source in ("int_model.cc", "int_postprocess.c", "main.cc", "print.cc"):
        compiler = [COMPILER, "-std=c++11"] if source.endswith(".cc") else [find_compiler(), "-std=c99"]
        command = [*compiler, *STRICT, f"-I{STUBS}", "-c", source]
        subprocess.run(command, cwd=tmp_path, check=True)  # type: ignore[arg-type]
    subprocess.run([COMPILER, "int_model.o", "print.o", "-o", "print"], cwd=tmp_path, check=True)  # type: ignore[list-item]
    done = subprocess.run(["./print"], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout.decode().split("\0")[:-1] == labels


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("lenet5", "lenet5"),
        ("MobileNet V2-0.35", "mobilenet_v2_0_35"),
        ("35 classes", "model_35_classes"),
        ("__x__", "x"),
        ("日本", "model"),
        ("int", "int"),
        ('*/ system("x"); /*', "system_x"),
        ("a" * 50, "a" * 40),
    ],
)
def test_any_name_begins_names_of_c(name: str, identifier: str) -> None:
    assert c_identifier(name) == identifier


def test_names_that_become_the_same_are_told_apart() -> None:
    assert distinct(["a b", "a-b", "1", "A_B"]) == ["a_b", "a_b_2", "output_1", "a_b_3"]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.6, 1e-9, 3.4e38, 1.1754944e-38, 100000000.0, -2.5])
def test_floats_of_c_are_read_back_as_they_were(value: float) -> None:
    text = c_float(value)
    assert re.fullmatch(r"-?\d[\d.]*(e[+-]\d+)?f", text)
    assert "." in text or "e" in text
    assert np.float32(text[:-1]) == np.float32(value)


def test_the_stand_in_has_all_methods_of_the_resolver() -> None:
    text = (STUBS / "tensorflow/lite/micro/micro_mutable_op_resolver.h").read_text()
    assert set(METHODS.values()) == set(re.findall(r"EDGECV_ADD\((Add\w+)\)", text))


def test_the_stated_arena_is_enough_and_less_is_not(folders: dict[str, Path]) -> None:
    folder = folders["detector"]
    description = read_description(folder)
    model, arena = read_model(folder, description.prefix), read_arena(folder, description.prefix)
    micro = Micro()
    micro.open(model, arena, 2)
    with pytest.raises(MicroError, match=r"^Failed to .*$"):
        micro.open(model, arena * 3 // 4, 2)
    micro.close()


def test_without_a_compiler_python_answers_the_same(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = {"image": np.random.default_rng(1).integers(0, 256, (1, 32, 48, 3), np.uint8)}
    compiled = RUNTIME.open(folders["detector"]).run(feeds)
    monkeypatch.setenv("PATH", "")
    runner = RUNTIME.open(folders["detector"])
    assert runner.provider == "TensorFlow Lite Micro + NumPy"
    plain = runner.run(feeds)
    assert np.array_equal(compiled["classes"], plain["classes"])
    np.testing.assert_allclose(compiled["boxes"], plain["boxes"], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace('"heads"', '"heads'), "tflm.json make no sense .*"),
        (
            lambda text: text.replace("90", "9000"),
            r".*the model's input and outputs are not those of its description.*",
        ),
        (lambda text: text.replace('"prefix": "conf', '"prefix": "x; conf'), ".*is no name in C.*"),
        (
            lambda text: text.replace('"anchors": 90', '"anchors": 91'),
            r".*its outputs are not what its decoder takes.*",
        ),
        (lambda text: text.replace('"int8"', '"float32"'), "the model's input and outputs are not those of its .*"),
        (lambda text: text[:1] + "}", "tflm.json make no sense .*"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line(
    change: Any, problem: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["detector"], tmp_path / "x")
    file = folder / "tflm.json"
    text = change(file.read_text())
    assert text != file.read_text()
    file.write_text(text)
    with pytest.raises(ArtifactError, match=rf"^'[^\n]*' [^\n]*: {problem}$"):
        RUNTIME.open(folder)


def test_a_model_that_kills_the_interpreter_kills_nothing_else() -> None:
    micro = Micro()
    micro._process.kill()  # as a fault of the interpreter would
    with pytest.raises(MicroError, match=r"^it died with status -9$"):
        micro.open(b"", 64, 1)
    micro.close()


def network(kind: str) -> Model:
    image = Input((24, 24, 3), name="image")
    x = layers.Conv2D(8, 3, 2, name="stem")(image)
    if kind == "gelu":
        x = layers.Activation("gelu", name="my_gelu")(x)
    if kind == "signs":
        x = layers.Lambda(keras.ops.sign, name="signs")(x)
    if kind == "tiny":
        x = layers.ReLU(6.0, name="relu6")(x * 1e-12)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return Model(image, layers.Dense(3, activation="softmax", name="head")(x))


def export(kind: str, calibration: Calibration, path: Path) -> Any:
    deployable = edgecv.deploy(network(kind), preprocess="0-1", name=kind)
    exporter = make_exporter("tflm", {"calibration": calibration})
    return edgecv.export(deployable, to=exporter, name="tflm", path=path, verify=False)


def test_an_export_takes_the_place_of_an_artifact_and_of_nothing_else(calibration: Calibration, tmp_path: Path) -> None:
    export("plain", calibration, tmp_path / "x")
    file = tmp_path / "x" / "plain_model.cc"
    file.write_text("old")
    (tmp_path / "x" / "left_over").touch()
    export("plain", calibration, tmp_path / "x")
    assert file.stat().st_size > 1000
    assert not (tmp_path / "x" / "left_over").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"^Cannot write '.*mine': this folder is no artifact of edgecv\. Name .*$"):
        export("plain", calibration, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").exists()


@pytest.mark.parametrize(("kind", "layer", "operator"), [("gelu", "my_gelu", "GELU"), ("signs", "signs", "SIGN")])
def test_an_operator_that_tflm_lacks_is_named_with_its_layer(
    kind: str, layer: str, operator: str, calibration: Calibration, tmp_path: Path
) -> None:
    message = (
        rf"^Layer '{layer}' needs the operator {operator}: there is no such operator in TensorFlow Lite Micro\. "
        r"Use another layer in its place\.$"
    )
    with pytest.raises(UnsupportedLayerError, match=message):
        export(kind, calibration, tmp_path / "x")
    assert not any(tmp_path.iterdir())


def test_activations_that_are_next_to_nothing_go_through(calibration: Calibration, tmp_path: Path) -> None:
    assert export("tiny", calibration, tmp_path / "x").findings["model_bytes"] > 0


def test_an_answer_that_is_two_quanta_off_is_refused(
    calibration: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = agreement._run
    monkeypatch.setattr(agreement, "_run", lambda *given: [np.clip(each, -100, 100) + 2 for each in run(*given)])
    message = (
        r"^TensorFlow Lite Micro answers 'head\w*' up to \d+ quanta away from LiteRT's reference kernels, "
        r"where 1 is allowed\. Leave the layers before it in float32: --max-drop finds them\.$"
    )
    with pytest.raises(ConversionError, match=message):
        export("plain", calibration, tmp_path / "x")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"tflm needs real pictures to calibrate on\. Give --calibration DIR\."),
        ({"precision": "float32"}, r"tflm writes int8 alone, not 'float32'\. Use --precision int8\."),
        ({"no_such": 1}, r"tflm has no option 'no_such'\. It has: calibration, float_layers, precision\."),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}$"):
        make_exporter("tflm", options)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"batch": None},
            "a microcontroller looks at one picture at a time, and the batch is dynamic; leave --batch out",
        ),
        ({"batch": 4}, "a microcontroller looks at one picture at a time, and the batch is 4; leave --batch out"),
        (
            {"top_k": 2},
            "TensorFlow Lite Micro has no TOPK_V2; leave --top-k out, and take the best of all probabilities",
        ),
    ],
)
def test_what_a_microcontroller_cannot_is_refused(
    change: dict[str, Any], reason: str, calibration: Calibration
) -> None:
    exporter: Any = make_exporter("tflm", {"calibration": calibration})
    assert exporter.unsupported(dataclasses.replace(CASES["classifier"].deploy(), **change)) == reason
    assert "leave --resize out" in exporter.unsupported(CASES["whole-pictures"].deploy())


def test_the_shell_exports_verifies_and_predicts(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--precision", "int8", "--calibration", str(pictures), "--json")
    done = CliRunner().invoke(cli, ["export", "lenet5", "--to", "tflm", *options])
    assert done.exit_code == 0, done.output
    (artifact,) = json.loads(done.stdout)["artifacts"]
    assert artifact["verification"]["passed"]
    assert {check["runtime"] for check in artifact["verification"]["checks"]} == {"tflm"}
    findings = artifact["findings"]
    assert findings["arena_bytes"] == read_arena(tmp_path / "lenet5-int8", "lenet5")
    assert findings["model_bytes"] == len(read_model(tmp_path / "lenet5-int8", "lenet5"))
    assert findings["operators"] == ["AVERAGE_POOL_2D", "CONV_2D", "FULLY_CONNECTED", "QUANTIZE", "TANH"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["lenet5-int8"]
    assert CliRunner().invoke(cli, ["verify", "lenet5-int8"]).exit_code == 0
    answers = json.loads(CliRunner().invoke(cli, ["predict", "lenet5-int8", str(pictures / "00.png"), "--json"]).stdout)
    assert len(answers[0]["results"]) == 5
