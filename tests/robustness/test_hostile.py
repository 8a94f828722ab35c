"""Metadata, names and containers that were made to harm do none."""

import base64
import copy
import io
import json
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgecv import metadata, registry
from edgecv.cli import cli
from edgecv.protobuf import encode_field

SAMPLES = Path(__file__).parents[1] / "golden" / "robustness"
PICTURE = SAMPLES / "picture.png"
CLASSIFIERS = ["separable-onnx-float32.onnx", "separable-tflite-float32.tflite"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def one_line(result: Result) -> str:
    """Return the one line that a refusal says; any other end fails."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert not lines[0].startswith("Error: Unexpected ")
    return lines[0]


def read(path: Path) -> dict[str, Any]:
    found = registry.runtime_for(path.suffix)
    assert found is not None
    return found[1].read_metadata(path)


def sealed(name: str, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy a sample and seal it with other metadata."""
    path = folder / name
    path.write_bytes((SAMPLES / name).read_bytes())
    document = read(path)
    change(document)
    found = registry.runtime_for(path.suffix)
    assert found is not None
    metadata.seal(path, document, found[1])
    return path


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_that_a_terminal_would_obey_are_shown_harmless(name: str, tmp_path: Path) -> None:
    evil = ["\x1b]0;owned\x07\x1b[2J", "a\rb\u202e", "\ud800", "<script>alert(1)</script>", "x" * 1_000_000]
    path = sealed(name, tmp_path, lambda document: document.update(labels=evil, model="\x1b[31mred\n"))
    for arguments in (["inspect", path], ["predict", path, PICTURE, "--save", tmp_path / "out"]):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert not set(result.stdout) & {"\x1b", "\x07", "\r", "\u202e", "\ud800"}
        assert max(map(len, result.stdout.splitlines())) < 1000
    with Image.open(tmp_path / "out" / "picture.png") as drawn:
        assert drawn.width < 2000
    answers = json.loads(run("predict", path, PICTURE, "--json").stdout)
    assert {each["label"] for each in answers[0]["results"]} == set(evil)
    assert "\x1b" not in run("predict", path, PICTURE, "--json").stdout


def test_100000_labels_are_read(tmp_path: Path) -> None:
    many = [f"label {number}" for number in range(100_000)]
    for name in CLASSIFIERS:
        path = sealed(name, tmp_path, lambda document: document.update(labels=many))
        assert "labels            100000: label 0, label 1, label 2, …\n" in run("inspect", path).stdout
        assert run("predict", path, PICTURE).exit_code == 0


def test_weights_in_another_file_are_never_read(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "outside.onnx"
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x00" * 4096)
    model = onnx.load(SAMPLES / CLASSIFIERS[0])
    tensor = model.graph.initializer[0]
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "../../../../../../etc/passwd", "offset": "0", "length": str(size)}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    found = registry.runtime_for(".onnx")
    assert found is not None
    metadata.seal(path, read(path), found[1])
    expected = f"Error: {str(path)!r} cannot be opened as ONNX: it has weights in other files. Export it again."
    assert one_line(run("predict", path, PICTURE)) == expected
    assert one_line(run("verify", path)) == expected


def values_of(document: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where each value of a JSON document is; of a long list its first two."""
    children = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:2])
        if isinstance(document, list)
        else ()
    )
    for key, value in children:
        yield (*place, key)
        yield from values_of(value, (*place, key))


def replacing(document: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    def replace(given: dict[str, Any]) -> None:
        given.clear()
        given.update(document)

    return replace


OTHERS: list[Any] = [None, True, -1, 10**30, 1e300, "", "x", [], [[]], {}, {"a": [None]}]


def try_values(name: str, folder: Path, others: Callable[[int], list[Any]], most: int) -> None:
    before = read(SAMPLES / name)
    places = [place for place in values_of(before) if place[0] not in ("layers", "versions", "settings")]
    for number, place in enumerate(places[:: max(1, len(places) // most)]):
        for other in others(number):
            document = copy.deepcopy(before)
            owner: Any = document
            for key in place[:-1]:
                owner = owner[key]
            owner[place[-1]] = other
            try:
                path = sealed(name, folder, replacing(document))
            except (KeyError, TypeError):
                continue
            for arguments in (["inspect", path], ["predict", path, PICTURE], ["verify", path]):
                result = run(*arguments)
                said = f"{place} = {other!r}, {arguments[0]}: {result.output}"
                assert result.exit_code in (0, 1, 2), said
                assert not result.stderr.startswith("Error: Unexpected "), said
                assert result.exit_code != 2 or (result.stderr.count("\n") == 1 and not result.stdout), said


@pytest.mark.parametrize("name", [*CLASSIFIERS, "detector-onnx-float32.onnx"])
def test_a_value_of_the_metadata_may_be_of_another_type(name: str, tmp_path: Path) -> None:
    try_values(name, tmp_path, lambda number: [OTHERS[number * 7 % len(OTHERS)]], most=40)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLASSIFIERS, "detector-onnx-float32.onnx", "detector-tflite-int8.tflite"])
def test_any_value_of_the_metadata_may_be_of_any_type(name: str, tmp_path: Path) -> None:
    try_values(name, tmp_path, lambda _: OTHERS, most=10_000)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"model": NaN}',
        '{"model": Infinity}',
        '{"model": 1e999}',
        '{"model": ' + "9" * 100_000 + "}",
        '"text"',
        "",
        "\ufeff{}",
    ],
)
@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_json_that_is_none_is_refused(text: str, form: str, tmp_path: Path, make_document: Any) -> None:
    path = make_document(form, text.encode(), tmp_path)
    for command in (["inspect", path], ["verify", path], ["predict", path, PICTURE]):
        one_line(run(*command))


@pytest.fixture
def make_document() -> Callable[[str, bytes, Path], Path]:
    """Put any bytes where the metadata's JSON text is."""

    def make(form: str, content: bytes, folder: Path) -> Path:
        bare = model_of(form)
        path = folder / f"x.{form}"
        if form == "onnx":
            entry = encode_field(1, b"edgecv") + encode_field(2, content)
            path.write_bytes(bare + encode_field(14, entry))
        else:
            path.write_bytes(bare + archive(("edgecv.json", content), before=len(bare)))
        return path

    return make


def model_of(form: str) -> bytes:
    from edgecv.runtimes import onnx_container, tflite_container

    path = SAMPLES / f"separable-{form}-float32.{form}"
    content = path.read_bytes()
    if form == "onnx":
        return content[: min(field.start for field, _ in onnx_container._entries(content))]
    return content[: tflite_container._zip_start(path)]


def archive(*entries: tuple[str, bytes], before: int, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO(bytes(before))
    with zipfile.ZipFile(buffer, "a", method) as written, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in entries:
            written.writestr(name, content)
    return buffer.getvalue()[before:]


def test_archives_that_unpack_without_end_are_refused(tmp_path: Path) -> None:
    bare = model_of("tflite")
    path = tmp_path / "bomb.tflite"
    for method, problem in (
        (zipfile.ZIP_DEFLATED, "edgecv.json is too large"),
        (zipfile.ZIP_BZIP2, "edgecv.json is compressed by the method 12"),
        (zipfile.ZIP_LZMA, "edgecv.json is compressed by the method 14"),
    ):
        size = 80 << 20 if method == zipfile.ZIP_DEFLATED else 1 << 20
        path.write_bytes(bare + archive(("edgecv.json", bytes(size)), before=len(bare), method=method))
        expected = f"Error: {str(path)!r} cannot be opened as TFLite: {problem}. Export it again."
        assert one_line(run("inspect", path)) == expected


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    bare = model_of("tflite")
    path = tmp_path / "liar.tflite"
    content = archive(("edgecv.json", bytes(80 << 20)), before=len(bare), method=zipfile.ZIP_DEFLATED)
    path.write_bytes(bare + content.replace(struct.pack("<I", 80 << 20), struct.pack("<I", 1000)))
    assert "cannot be opened as TFLite" in one_line(run("inspect", path))


def test_archives_with_the_same_name_twice_or_names_that_lead_away_do_no_harm(tmp_path: Path) -> None:
    bare = model_of("tflite")
    path = tmp_path / "twice.tflite"
    with zipfile.ZipFile(SAMPLES / CLASSIFIERS[1]) as own:
        content = own.read("edgecv.json")
    path.write_bytes(bare + archive(("edgecv.json", content), ("edgecv.json", content), before=len(bare)))
    assert one_line(run("predict", path, PICTURE)) == (
        f"Error: {str(path)!r} cannot be opened as TFLite: edgecv.json is there more than once. Export it again."
    )
    names = ("../escaped", str(tmp_path / "absolute"), "edgecv.json")
    path.write_bytes(bare + archive(*((name, content) for name in names), before=len(bare)))
    run("predict", path, PICTURE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["twice.tflite"]
    assert not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize(
    "shape", [[1, 10**9, 10**9, 3], [1, -4, 4, 3], [10**8, 24, 24, 3], [True, 24, 24, 3], [1, 24, 24, 1e9], [[]]]
)
def test_shapes_that_no_memory_holds_are_refused(shape: list[Any], tmp_path: Path) -> None:
    for name in CLASSIFIERS:
        path = sealed(name, tmp_path, lambda document: document["input"].update(shape=shape))
        for command in (["inspect", path], ["verify", path], ["predict", path, PICTURE]):
            assert "has damaged edgecv metadata: 'input' " in one_line(run(*command))


def test_recorded_answers_that_unpack_without_end_are_refused(tmp_path: Path) -> None:
    bomb = base64.b64encode(zlib.compress(bytes(1 << 27), 9)).decode()

    def plant(document: dict[str, Any], **values: Any) -> None:
        document["verification"]["cases"][0]["outputs"]["probabilities"].update(values)

    for name in CLASSIFIERS:
        path = sealed(name, tmp_path, lambda document: plant(document, values=bomb))
        assert "(ValueError: values are cut, or too many). Export it again." in one_line(run("verify", path))
        path = sealed(name, tmp_path, lambda document: plant(document, packed="S100000"))
        assert "its recorded cases make no sense" in one_line(run("verify", path))


@pytest.mark.parametrize("name", ["a\nb.tflite", "a\x1b[31m.tflite", "-x.tflite"])
def test_names_of_files_are_shown_harmless(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((SAMPLES / CLASSIFIERS[1]).read_bytes())
    assert run("inspect", path).exit_code == 0
    assert run("predict", path, PICTURE).exit_code == 0
    path.write_bytes(path.read_bytes()[:3000])
    assert one_line(run("predict", path, PICTURE)).isprintable()


def test_a_picture_s_name_forges_no_line_of_answers(tmp_path: Path) -> None:
    picture = tmp_path / "a\n  0.9999  cat.png"
    picture.write_bytes(PICTURE.read_bytes())
    printed = run("predict", SAMPLES / CLASSIFIERS[1], picture, "--save", tmp_path / "out", "--top-k", "1").stdout
    assert len(printed.splitlines()) == 2
    assert "\n  0.9999" not in printed


def test_a_name_that_is_no_utf_8_is_shown(tmp_path: Path) -> None:
    artifact = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.tflite"))
    picture = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    artifact.write_bytes((SAMPLES / CLASSIFIERS[1]).read_bytes())
    picture.write_bytes(PICTURE.read_bytes())
    result = run("predict", artifact, picture, "--save", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(run("predict", artifact, picture, "--json").stdout)[0]["source"] == str(picture)
    artifact.write_bytes(b"x")
    assert "cannot be opened as TFLite" in one_line(run("inspect", artifact))


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    content = read(SAMPLES / CLASSIFIERS[0])
    (folder / "edgecv.json").write_text(metadata.dump(content))
    (folder / "passwd").symlink_to("/etc/passwd")
    for command in (["inspect", folder], ["verify", folder], ["predict", folder, PICTURE]):
        one_line(run(*command))


def test_pictures_with_captions_of_a_megabyte_stay_small() -> None:
    from edgecv.cli.annotate import annotate
    from edgecv.pictures import picture_of_array
    from edgecv.results import Prediction

    picture = picture_of_array(np.zeros((20, 30, 3), np.uint8))
    label = "<b>\x1b" * 250_000
    for more in ({}, {"box": [1.0, 2.0, 9.0, 9.0]}):
        result = {"score": 0.5, "class": 0, "label": label, **more}
        assert annotate(picture, Prediction(results=[result])).width < 2000


def test_a_metadata_file_without_end_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    with (folder / "edgecv.json").open("wb") as file:
        file.truncate(1 << 36)  # a hole: it takes no place
    from edgecv.errors import ArtifactError
    from edgecv.runtimes.folder import read_folder_metadata

    with pytest.raises(
        ArtifactError, match=r"has damaged edgecv metadata: edgecv.json is too large\. Export it again\.$"
    ):
        read_folder_metadata(folder)
