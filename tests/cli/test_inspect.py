import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from edgecv.cli import cli


def test_json_is_the_metadata_and_the_operators(artifact: Path, document: dict[str, Any]) -> None:
    result = CliRunner().invoke(cli, ["inspect", str(artifact), "--json"])
    shown = json.loads(result.stdout)
    assert document.items() <= shown.items()
    assert sum(shown["ops"].values()) == 3
    assert shown["custom_ops"] == []
    assert shown["bytes"] == artifact.stat().st_size
    assert shown["intact"] is True
    assert len(shown["digest"]) == 64


def test_people_read_lines(artifact: Path) -> None:
    result = CliRunner().invoke(cli, ["inspect", str(artifact)])
    assert "input             image uint8 [1, 4, 4, 3]\n" in result.stdout
    assert "preprocess        style none, order rgb, mean [0.0], scale [1.0], resize (mode stretch)\n" in result.stdout
    assert "labels            3: red, green, blue\n" in result.stdout
    assert "digest            agrees\n" in result.stdout
    assert result.stderr == ""


def test_damage_is_said(artifact: Path) -> None:
    damaged = artifact.read_bytes().replace(b"probabilities", b"probabilitieS", 1)
    artifact.write_bytes(damaged)
    result = CliRunner().invoke(cli, ["inspect", str(artifact)])
    assert result.exit_code == 1
    assert "digest            disagrees\n" in result.stdout
    assert result.stderr == f"Error: {str(artifact)!r} is damaged: its digest disagrees. Export it again.\n"


def test_what_is_no_artifact_is_one_line(bare: Path) -> None:
    result = CliRunner().invoke(cli, ["inspect", str(bare)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: {str(bare)!r} has no edgecv metadata: it is cut or edgecv did not write it. Export it again.\n"
    )
