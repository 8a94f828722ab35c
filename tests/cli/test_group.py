import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edgecv.cli import _COMMANDS, cli
from edgecv.errors import OptionError

EDGECV = [sys.executable, "-m", "edgecv.cli"]


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr.rstrip()


def processor_seconds(*arguments: str) -> float:
    """Return the best of five runs; of processor time, which other work on the machine does not lengthen."""

    def once() -> float:
        before = os.times()
        subprocess.run([*EDGECV, *arguments], check=True, capture_output=True)
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    return min(once() for _ in range(5))


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in _COMMANDS)


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "-h"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_version() -> None:
    from importlib.metadata import version

    assert CliRunner().invoke(cli, ["--version"]).stdout == f"edgecv {version('edgecv')}\n"


def test_help_is_quick() -> None:
    assert processor_seconds("--help") < 0.2


def test_unknown_commands_and_options_come_with_a_hint() -> None:
    assert refused("predit") == "Error: Unknown command 'predit'. Did you mean 'predict'?"
    assert refused("xyz").startswith("Error: Unknown command 'xyz'. Known: benchmark, build, check, ")
    assert refused("list", "--jso").startswith("Error: No such option '--jso'. Did you mean '--json'?")
    assert refused("list", "exporter").startswith("Error: Invalid value for ")
    assert refused("predict").startswith("Error: Missing argument 'ARTIFACT'")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OptionError("a\nb is wrong."), 2, "Error: a b is wrong."),
        (ValueError("x"), 2, "Error: Unexpected ValueError: x. Set EDGECV_DEBUG=1 to see where it comes from."),
        (MemoryError(), 2, "Error: Unexpected MemoryError. Set EDGECV_DEBUG=1 to see where it comes from."),
        (
            SystemExit(0),
            2,
            "Error: A plugin or package would have ended the program: exit 0. "
            "Set EDGECV_DEBUG=1 to see where it comes from.",
        ),
        (KeyboardInterrupt(), 130, "Error: Interrupted."),
        (click.Abort(), 130, "Error: Interrupted."),
        (click.exceptions.Exit(1), 1, ""),
    ],
)
def test_any_error_is_one_line(error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("edgecv.cli.listing._runtimes", fail)
    result = CliRunner().invoke(cli, ["list", "runtimes"])
    assert (result.exit_code, result.stdout, result.stderr.strip()) == (code, "", line)


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECV_DEBUG", "1")
    result = CliRunner().invoke(cli, ["inspect", "none.onnx"])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: Artifact 'none.onnx' does not exist.")


def test_an_interrupt_ends_with_130(tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(
        "import sys, time\nfrom edgecv.cli import cli, listing\n"
        "def wait():\n    print('ready', file=sys.stderr, flush=True)\n    time.sleep(60)\n"
        "listing._runtimes = wait\ncli.main(['list', 'runtimes'])\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, b"", b"Error: Interrupted.")


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*EDGECV, "list"], stdout=writer, stderr=subprocess.PIPE, check=False, timeout=20)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_list_has_the_contracts_keys() -> None:
    document = json.loads(CliRunner().invoke(cli, ["list", "--json"]).stdout)
    assert set(document) == {"architectures", "exporters", "runtimes"}
    wanted = {
        "architectures": {"name", "task", "input_shape", "parameters", "weights", "reference"},
        "exporters": {"name", "suffix", "precisions", "distribution", "version", "available", "reason"},
        "runtimes": {"name", "devices", "available", "reason"},
    }
    for kind, keys in wanted.items():
        assert document[kind]
        assert all(keys <= set(entry) for entry in document[kind])
    assert {"name": "lenet5", "input_shape": [32, 32, 1], "parameters": 61_706}.items() <= next(
        entry for entry in document["architectures"] if entry["name"] == "lenet5"
    ).items()


def test_list_of_one_kind() -> None:
    result = CliRunner().invoke(cli, ["list", "runtimes"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "runtimes"
    assert "onnxruntime" in result.stdout


def test_list_is_quick() -> None:
    assert processor_seconds("list") < 0.5
