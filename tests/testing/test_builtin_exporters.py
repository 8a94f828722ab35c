"""The built-in exporters keep the contract that plugins are held to."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from edgecv import registry
from edgecv.cli import cli
from edgecv.testing import CHECKS, conformance

# What looks at the classifier alone, in this process: the others are below, slow.
QUICK = (
    "loads", "describes-itself", "imports-cheaply", "runtime", "options-described", "wrong-options",
    "answers-classifier", "answers-top-k", "answers-segmenter", "answers-black-and-white", "at-its-name",
    "metadata-inside", "labels-inside", "digest", "metadata-replaced", "opened-by-its-runtime", "engine-not-needed",
    "damaged-files", "unknown-device", "threads", "wrong-feeds", "own-arrays", "missing-folder",
)  # fmt: skip

test_onnx_keeps_the_contract = conformance("onnx", only=QUICK)
test_tflite_keeps_the_contract = conformance("tflite", only=QUICK)
test_onnx_keeps_all_of_the_contract = pytest.mark.slow(conformance("onnx"))
test_tflite_keeps_all_of_the_contract = pytest.mark.slow(conformance("tflite"))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["check-exporter", *arguments])


def test_checks_have_names_of_their_own_and_say_what_to_do() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) >= 40
    for check in CHECKS:
        assert check.demands.endswith(".")
        assert check.remedy.rstrip().endswith(".")
        assert "\n" not in check.demands + check.remedy


def test_the_shell_prints_one_verdict() -> None:
    result = run("onnx", "--only", "loads", "--only", "describes-itself")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("onnx, exporter of edgecv ")
    assert "ok    loads" in result.stdout
    assert "2 passed, 0 failed, 0 skipped, in " in result.stdout
    assert result.stdout.endswith("onnx keeps the contract.\n")


def test_json_is_one_document() -> None:
    result = run("tflite", "--only", "loads", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["exporter"] == "tflite"
    assert document["distribution"] == "edgecv"
    assert document["passed"] is True
    assert document["counts"] == {"passed": 1, "failed": 0, "skipped": 0}
    (check,) = document["checks"]
    assert (check["name"], check["verdict"], check["reason"], check["remedy"]) == ("loads", "passed", None, None)


def test_an_unknown_exporter_or_check_is_one_line() -> None:
    result = run("onxx")
    assert result.exit_code == 2
    installed = ", ".join(registry.exporter_names())
    assert result.stderr == f"Error: Unknown exporter 'onxx'. Did you mean 'onnx'? Installed: {installed}.\n"
    result = run("onnx", "--only", "lodas")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: Unknown check 'lodas'. Did you mean 'loads'? Installed: ")
