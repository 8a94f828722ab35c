"""A result appears whole under its name or not at all: after errors, kills at any moment, and on a full disk."""

import contextlib
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecv.errors import OptionError, OutputError
from edgecv.files import replace_whole, scratch_folder, writable_folder

# Root may write anywhere; without these two rights (capabilities 1 and 2) the permission bits bind it, too.
_UNPRIVILEGED = """
import ctypes, os, sys
for right in (1, 2):
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write(path: Path, content: bytes, error: BaseException | None = None) -> None:
    with replace_whole(path) as temporary:
        temporary.write_bytes(content)
        if error is not None:
            raise error


def write_folder(path: Path, name: str, error: BaseException | None = None) -> None:
    with replace_whole(path) as temporary:
        temporary.mkdir()
        (temporary / name).touch()
        if error is not None:
            raise error


def unprivileged(code: str, *arguments: object) -> str:
    """Run Python code in a process that permission bits bind; return what it prints."""
    command = [sys.executable, "-c", _UNPRIVILEGED, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def dead_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        return process.pid


@contextlib.contextmanager
def living_process() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("there is no mount command")
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with replace_whole(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("-x.bin")  # converters look at the suffix
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert entries(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3), OptionError("no")])
@pytest.mark.parametrize("before", [None, b"old"])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: BaseException, before: bytes | None) -> None:
    path = tmp_path / "x.bin"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(type(error)) as raised:
        write(path, b"half", error)
    assert raised.value is error
    assert entries(tmp_path) == ([] if before is None else ["x.bin"])
    assert before is None or path.read_bytes() == before


def test_a_folder_appears_whole_and_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for name in ("first", "second"):
        write_folder(path, name)
        assert entries(tmp_path) == ["model"]
        assert entries(path) == [name]


def test_a_full_disk_names_the_file_that_was_asked_for_and_no_temporary(tiny_disk: Path) -> None:
    path = tiny_disk / "x.onnx"
    with (
        pytest.raises(
            OutputError, match=f"^Cannot write '{path}': the disk is full\\. Free some space and try again\\.$"
        ),
        scratch_folder(path) as folder,
    ):
        write(folder / "float32.onnx", bytes(100_000))
    assert entries(tiny_disk) == []


def test_what_takes_no_file_is_refused_before_the_work(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 240)
    refusals = {
        Path("/proc/x.html"): "the folder '/proc' takes no files. Name another one.",
        long: "File name too long.",
    }
    for path, what in refusals.items():
        with pytest.raises(OutputError, match=f"^Cannot write '{path}': {re.escape(what)}$"):
            writable_folder(path)
    assert entries(tmp_path) == []
    assert writable_folder(tmp_path / "x.html") == tmp_path
    assert entries(tmp_path) == []


def test_an_error_in_a_folder_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(ValueError, match=r"^bad$"):
        write_folder(path, "new", ValueError("bad"))
    assert entries(tmp_path) == ["model"]
    assert entries(path) == ["old"]


def test_a_folder_that_cannot_be_renamed_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").touch()
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if target == path and (self / "new").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError) as raised:
        write_folder(path, "new")
    assert str(raised.value) == f"Cannot write {str(path)!r}: Input/output error."
    assert entries(tmp_path) == ["model"]
    assert entries(path) == ["old"]


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.mkdir()
    with pytest.raises(OutputError) as raised:
        write(path, b"new")
    assert str(raised.value) == f"Cannot write {str(path)!r}: it is a folder. Name a file with -o."
    assert entries(tmp_path) == ["x.onnx"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with pytest.raises(OutputError) as raised, replace_whole(path):
        pass
    assert str(raised.value) == f"Cannot write {str(path)!r}: No such file or directory."
    assert entries(tmp_path) == []


def test_one_renaming_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with replace_whole(path) as outer:
        with replace_whole(outer) as inner:
            assert inner == outer
            inner.write_bytes(b"new")
        assert entries(tmp_path) == [outer.name]
    assert path.read_bytes() == b"new"


def test_temporaries_of_the_dead_are_removed_and_others_left_alone(tmp_path: Path) -> None:
    with living_process() as living:
        names = {
            "dead file": f".edgecv-tmp-{dead_pid()}-0123abcd-x.onnx",
            "dead folder": f".edgecv-tmp-{dead_pid()}-0123abcd-model",
            # Process ids come again, in containers always the same ones: this one is not from this process.
            "mine": f".edgecv-tmp-{os.getpid()}-0123abcd-x.onnx",
            "living": f".edgecv-tmp-{living}-0123abcd-x.onnx",
            "look-alike": ".edgecv-tmp-me-0123abcd-x.onnx",
            "other": "x.onnx",
        }
        for kind, name in names.items():
            if kind == "dead folder":
                (tmp_path / name).mkdir()
                (tmp_path / name / "part").touch()
            else:
                (tmp_path / name).touch()
        with replace_whole(tmp_path / "one.bin") as first:
            first.touch()
            assert writable_folder(tmp_path / "two.bin") == tmp_path
            expected = [names["living"], names["look-alike"], names["other"], first.name]
            assert entries(tmp_path) == sorted(expected)


_WRITER = """
import sys
from pathlib import Path
from edgecv.files import replace_whole
path, folder = Path(sys.argv[1]), len(sys.argv) > 2
print("ready", flush=True)
number = 0
while True:
    content = bytes([number % 256]) * 300_000
    with replace_whole(path) as temporary:
        parts = [temporary]
        if folder:
            temporary.mkdir()
            parts = [temporary / name for name in ("a", "b", "c")]
        for part in parts:
            with part.open("wb") as file:
                for start in range(0, len(content), 10_000):
                    file.write(content[start : start + 10_000])
    number += 1
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_killed_at_any_moment_a_writer_leaves_no_half_result(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    moments = random.Random(0)
    folders = ["folder"] if kind == "folder" else []
    left_behind = 0
    for number in range(100):
        if number >= 12 and left_behind:
            break
        command = [sys.executable, "-c", _WRITER, str(path), *folders]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        if path.exists():
            parts = [path] if kind == "file" else [path / name for name in "abc"]
            contents = {part.read_bytes() for part in parts}
            assert len(contents) == 1
            assert len(content := contents.pop()) == 300_000
            assert len(set(content)) == 1
        left_behind += len(entries(tmp_path)) - path.exists()
    assert left_behind > 0  # else no kill came while something was being written
    with replace_whole(tmp_path / "next.bin") as temporary:
        temporary.touch()
    assert set(entries(tmp_path)) <= {"x", "next.bin"}


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tiny_disk: Path) -> None:
    path = tiny_disk / "x.bin"
    path.write_bytes(b"old")
    with pytest.raises(OutputError) as raised:
        write(path, bytes(200_000))
    assert str(raised.value) == f"Cannot write {str(path)!r}: the disk is full. Free some space and try again."
    assert entries(tiny_disk) == ["x.bin"]
    assert path.read_bytes() == b"old"


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.bin"
    with pytest.raises(OutputError) as raised, replace_whole(path):
        pytest.fail("the block must not run")
    folder = str(path.parent)
    assert str(raised.value) == f"Cannot write {str(path)!r}: the folder {folder!r} does not exist. Create it first."
    assert entries(tmp_path) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "x.bin"
    with pytest.raises(OutputError) as raised:
        writable_folder(path)
    folder = str(path.parent)
    assert str(raised.value) == f"Cannot write {str(path)!r}: the folder {folder!r} is not a folder. Create it first."


def test_a_folder_that_cannot_be_looked_at_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 300) / "x.bin"
    with pytest.raises(OutputError) as raised:
        writable_folder(path)
    assert str(raised.value) == f"Cannot write {str(path)!r}: File name too long."


_WRITES = """
import sys
from pathlib import Path
from edgecv.errors import OutputError
from edgecv.files import replace_whole
try:
    with replace_whole(Path(sys.argv[1])) as temporary:
        temporary.touch()
except OutputError as error:
    print(error)
"""


def test_a_read_only_folder_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    path = str(folder / "x.bin")
    said = unprivileged(_WRITES, path)
    assert said == f"Cannot write {path!r}: the folder {str(folder)!r} is read-only.\n"
    assert entries(folder) == []


def test_a_folder_behind_a_closed_one_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    (folder / "inner").mkdir(parents=True)
    folder.chmod(0o000)
    path = str(folder / "inner" / "x.bin")
    try:
        assert unprivileged(_WRITES, path) == f"Cannot write {path!r}: Permission denied.\n"
    finally:
        folder.chmod(0o755)


def test_a_folder_that_can_be_written_but_not_listed_is_fine(tmp_path: Path) -> None:
    folder = tmp_path / "blind"
    folder.mkdir()
    folder.chmod(0o300)
    try:
        assert unprivileged(_WRITES, folder / "x.bin") == ""
        assert (folder / "x.bin").exists()
    finally:
        folder.chmod(0o755)


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    with pytest.raises(OutputError) as caught, replace_whole(pipe):
        pass
    assert str(caught.value) == f"Cannot write {str(pipe)!r}: it is a device, pipe or socket. Name a file."
    assert pipe.is_fifo()
