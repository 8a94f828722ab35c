"""Artifacts that are zips: the same bytes always, metadata that can be sealed, damage that is one line."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgecv import metadata
from edgecv.errors import ArtifactError
from edgecv.runtimes import archive


class Zipped:
    read_metadata = staticmethod(archive.read_archive_metadata)
    write_metadata = staticmethod(archive.write_archive_metadata)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    archive.write_archive(tmp_path / "x.zip", {"b.bin": b"b" * 1000, "a.bin": b"a"}, compress=True)
    return tmp_path / "x.zip"


def test_a_zip_has_the_same_bytes_and_any_reader_opens_it(path: Path, tmp_path: Path) -> None:
    archive.write_archive(tmp_path / "y.zip", {"b.bin": b"b" * 1000, "a.bin": b"a"}, compress=True)
    assert path.read_bytes() == (tmp_path / "y.zip").read_bytes()
    assert path.stat().st_size < 1000
    with zipfile.ZipFile(path) as opened:
        assert opened.namelist() == ["b.bin", "a.bin"]
        assert opened.testzip() is None
    assert archive.read_member(path, "b.bin") == b"b" * 1000


def test_sealed_metadata_keep_checksums_and_are_replaced(path: Path, document: dict[str, Any]) -> None:
    runtime: Any = Zipped()
    for model in ("first", "second"):
        sealed = metadata.seal(path, {**document, "model": model}, runtime)
        assert archive.read_archive_metadata(path) == sealed
        metadata.check_digest(path, sealed)
        with zipfile.ZipFile(path) as opened:
            assert opened.testzip() is None
            assert opened.namelist() == ["b.bin", "a.bin", "edgecv.json"]
    assert archive.read_member(path, "a.bin") == b"a"
    assert [each.name for each in path.parent.iterdir()] == ["x.zip"]


def test_what_is_no_artifact_is_one_line(path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"^'.*x\.zip' has no edgecv metadata: it is cut or edgecv did not write it"
    ):
        archive.read_archive_metadata(path)
    with pytest.raises(ArtifactError, match=r"^'.*x\.zip' cannot be opened as zip: there is no 'c.bin' in it\. Export"):
        archive.read_member(path, "c.bin")
    content = path.read_bytes()
    for damage in (b"", content[: len(content) // 2], b"text" * 100):
        path.write_bytes(damage)
        for call in (archive.read_archive_metadata, lambda each: archive.read_member(each, "b.bin")):
            with pytest.raises(ArtifactError, match=r"^'.*x\.zip' cannot be opened as zip: .*\. Export it again\.$"):
                call(path)
        with pytest.raises(ArtifactError, match=r"^'.*x\.zip' cannot be opened as zip: .*\. Export it again\.$"):
            archive.write_archive_metadata(path, {})
    assert [each.name for each in path.parent.iterdir()] == ["x.zip"]


def test_a_member_that_claims_too_much_is_not_unpacked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MAX_MEMBER", 999)
    with pytest.raises(ArtifactError, match=r"cannot be opened as zip: b\.bin is too large\. Export it again\.$"):
        archive.read_member(path, "b.bin")
