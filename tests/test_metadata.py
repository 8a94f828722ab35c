import contextlib
import hashlib
import json
import os
import random
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecv import metadata
from edgecv.errors import ArtifactError, DigestError
from edgecv.runtimes.tflite_container import DIGEST_PLACES, with_guard
from edgecv.session import runtime_of


def test_what_is_sealed_is_read(artifact: Path, document: dict[str, Any]) -> None:
    read = runtime_of(artifact)[1].read_metadata(artifact)
    digest = read.pop("digest")
    assert read == document
    assert len(digest) == 64


def test_digest_is_the_sha256_with_its_own_characters_zero(artifact: Path) -> None:
    digest = runtime_of(artifact)[1].read_metadata(artifact)["digest"]
    # As the contract says it, in one line and without edgecv.
    assert hashlib.sha256(artifact.read_bytes().replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_sealing_is_reproducible_and_replaces_what_was_there(artifact: Path, document: dict[str, Any]) -> None:
    first = artifact.read_bytes()
    runtime = runtime_of(artifact)[1]
    metadata.seal(artifact, {**document, "model": "another", "labels": []}, runtime)
    assert runtime.read_metadata(artifact)["model"] == "another"
    metadata.seal(artifact, document, runtime)
    assert artifact.read_bytes() == first


def test_a_flipped_bit_is_noticed_wherever_it_is(artifact: Path) -> None:
    whole = artifact.read_bytes()
    runtime = runtime_of(artifact)[1]
    for place in range(0, len(whole), 3):  # three, and eight below, have no common divisor
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        artifact.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            metadata.check_digest(artifact, runtime.read_metadata(artifact))


def test_damage_outside_the_metadata_is_a_digest_error(artifact: Path) -> None:
    damaged = bytearray(artifact.read_bytes())
    damaged[damaged.index(b"image")] ^= 1
    artifact.write_bytes(damaged)
    runtime = runtime_of(artifact)[1]
    with pytest.raises(DigestError, match=r"^'.*' is damaged: its digest disagrees\. Export it again\.$"):
        metadata.check_digest(artifact, runtime.read_metadata(artifact))


@pytest.mark.parametrize("digest", [None, "", "x" * 64, 7])
def test_no_digest_is_a_digest_error(artifact: Path, digest: object) -> None:
    with pytest.raises(DigestError, match=r"^'.*' is damaged: its digest disagrees\. Export it again\.$"):
        metadata.check_digest(artifact, {"digest": digest})


@pytest.mark.parametrize("bare", ["tflite"], indirect=True)
def test_tflite_metadata_open_as_a_zip(artifact: Path) -> None:
    with zipfile.ZipFile(artifact) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", "edgecv.json"]
        assert archive.read("labels.txt") == b"red\ngreen\nblue\n"
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in archive.infolist())
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        document = json.loads(archive.read("edgecv.json"))
    assert list(document)[-2:] == ["digest", "digest_guard"]


def test_guard_makes_the_crc_independent_of_the_digest() -> None:
    texts = [with_guard(json.dumps({"model": "x", "digest": os.urandom(32).hex()})) for _ in range(200)]
    assert len(set(texts)) == 200
    assert len({zlib.crc32(text.encode()) for text in texts}) == 1
    first = texts[0].index(json.loads(texts[0])["digest"])
    digest = texts[0][first : first + 64]
    assert [texts[0][first + place :].startswith(digest) for place in DIGEST_PLACES] == [True] * 5
    assert texts[0].count(digest) == 5


def test_without_a_guard_the_crc_depends_on_the_digest() -> None:
    texts = [json.dumps({"digest": os.urandom(32).hex()}) for _ in range(20)]
    assert len({zlib.crc32(text.encode()) for text in texts}) > 1


def test_dump_has_a_fixed_order_and_only_ascii() -> None:
    text = metadata.dump({"digest": "d", "zebra": 1, "task": "other", "model": "ü", "apple": 2})
    assert text == '{"model": "\\u00fc", "task": "other", "apple": 2, "zebra": 1, "digest": "d"}'


def test_dump_refuses_what_is_no_json() -> None:
    with pytest.raises(ValueError, match=r"^Out of range float values are not JSON compliant(: nan)?$"):
        metadata.dump({"model": float("nan")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"^'a\.onnx' has damaged edgecv metadata: Expecting property name .*\. Export it again\.$"),
        ("[]", r"^'a\.onnx' has no edgecv metadata: it is cut or edgecv did not write it\. Export it again\.$"),
        ("{}", r"^'a\.onnx' has edgecv metadata without 'edgecv_version'\. Export it again\.$"),
    ],
)
def test_broken_json_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        metadata.load(text, Path("a.onnx"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"task": 4}, "'task' must be a text, got int"),
        ({"precision": 4}, "'precision' must be a text, got int"),
        ({"labels": 5}, "'labels' must be a list, got int"),
        ({"checkpoints": "pre_nms/boxes"}, "'checkpoints' must be a list, got str"),
        ({"preprocess": None}, "'preprocess' must be an object, got NoneType"),
        ({"postprocess": [1]}, "'postprocess' must be an object, got list"),
        ({"verification": "x"}, "'verification' must be an object, got str"),
        ({"graph_resize": {"mode": "stretch"}}, "'graph_resize' must have height and width"),
        ({"input": "image"}, "'input' must be an object, got str"),
        ({"input": {"name": "image", "dtype": "uint8"}}, "'input' must have name, shape and dtype"),
        ({"input": {"name": "image", "dtype": "uint8", "shape": ["N"]}}, "'input' must have name, shape and dtype"),
        ({"outputs": [{"name": "boxes"}]}, "'outputs' must have name, shape and dtype"),
    ],
)
def test_a_key_that_holds_what_it_cannot_is_named(change: Any, problem: str, document: dict[str, Any]) -> None:
    message = f"'a.onnx' has damaged edgecv metadata: {problem}. Export it again."
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        metadata.load(json.dumps({**document, **change}), Path("a.onnx"))


def test_a_file_without_metadata_is_one_line(bare: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^'.*' has no edgecv metadata: it is cut or .*\. Export it again\.$"):
        runtime_of(bare)[1].read_metadata(bare)


def test_labels_may_hold_any_text(bare: Path, document: dict[str, Any], seal: Callable[..., Path]) -> None:
    document["labels"] = ['"', "two\nlines", "Ünï→😀"]
    seal(bare, document)
    read = runtime_of(bare)[1].read_metadata(bare)
    assert read["labels"] == document["labels"]
    metadata.check_digest(bare, read)


def test_random_damage_raises_artifact_errors_only(artifact: Path) -> None:
    whole = artifact.read_bytes()
    runtime = runtime_of(artifact)[1]
    dice = random.Random(0)
    for number in range(600):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        if number % 3 == 0:
            del damaged[dice.randrange(len(damaged)) :]
        artifact.write_bytes(damaged)
        for read in (runtime.read_metadata, runtime.operators, runtime.custom_operators):
            with contextlib.suppress(ArtifactError):
                read(artifact)


def test_every_truncation_is_refused(artifact: Path) -> None:
    whole = artifact.read_bytes()
    runtime = runtime_of(artifact)[1]
    for size in range(0, len(whole), 7):
        artifact.write_bytes(whole[:size])
        with pytest.raises(ArtifactError):
            metadata.check_digest(artifact, runtime.read_metadata(artifact))


@pytest.mark.parametrize("size", [1, 64, 65, 100, 191, 192, 193])
def test_pieces_may_cut_a_digest_anywhere(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    content = b"a" * 40 + digest.encode() * 2 + b"b" * 70 + digest.encode()
    path = tmp_path / "x"
    path.write_bytes(content)
    monkeypatch.setattr(metadata, "_CHUNK", size)
    expected = hashlib.sha256(content.replace(digest.encode(), b"0" * 64)).hexdigest()
    assert metadata.compute_digest(path, digest) == expected
    assert metadata._hash(path, digest)[1] == [(path, 40), (path, 104), (path, 238)]
