"""The reader of torch's old format, on files assembled here byte by byte."""

import collections
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecv.errors import WeightsError
from edgecv.weights.torch_pickle import read_torch_weights

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
VALUES = np.arange(6, dtype="<f4")


def state_pickle(*, offset: int = 0, shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (3, 1)) -> bytes:
    """One float32 tensor called ``w`` in storage ``0``, in the opcodes that torch uses."""

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    ordered = b"ccollections\nOrderedDict\nq\x00)R"
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(6) + b"NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + (
        storage + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + b"h\x00)R" + b"tR"
    )
    attributes = b"}" + text("_metadata") + b"h\x00)Rsb"
    return b"\x80\x02" + ordered + b"(" + text("w") + tensor + b"u" + attributes + b"."


def torch_file(
    *,
    magic: bytes = pickle.dumps(MAGIC, 2),
    protocol: bytes = pickle.dumps(PROTOCOL, 2),
    machine: bytes = pickle.dumps(MACHINE, 2),
    state: bytes | None = None,
    keys: bytes = pickle.dumps(["0"], 2),
    count: int = 6,
    tail: bytes = VALUES.tobytes(),
) -> bytes:
    state = state_pickle() if state is None else state
    return magic + protocol + machine + state + keys + struct.pack("<q", count) + tail


def test_a_state_dictionary_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(torch_file())
    weights = read_torch_weights(path)
    assert list(weights) == ["w"]
    assert weights["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_offset_and_strides_are_honoured(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(torch_file(state=state_pickle(offset=1, shape=(2, 2), strides=(1, 2))))
    assert read_torch_weights(path)["w"].tolist() == [[1, 3], [2, 4]]


class _Evil:
    """Runs a shell command when a plain unpickler reads it."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch evil",)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "truncated or malformed pickle"),
        (b"PK\x03\x04 a zip archive", "truncated or malformed pickle"),
        (torch_file(magic=pickle.dumps(1, 2)), "wrong magic number"),
        (torch_file(protocol=pickle.dumps(1002, 2)), "protocol version 1002 in place of 1001"),
        (torch_file(machine=pickle.dumps({"little_endian": False}, 2)), "written by a big-endian machine"),
        (
            torch_file(state=pickle.dumps(_Evil(), 2)),
            "its pickle asks for 'posix.system', which weights do not need",
        ),
        (
            torch_file(state=pickle.dumps(_Evil(), 4)),
            "its pickle uses the opcode FRAME, which weights do not need",
        ),
        (
            torch_file(state=pickle.dumps(1.5, 2)),
            "its pickle uses the opcode BINFLOAT, which weights do not need",
        ),
        (torch_file(state=b"\x80\x02\xff."), "truncated or malformed pickle"),
        (torch_file(state=b"\x80\x02r\xff\xff\xff\x7f."), "malformed pickle (memory)"),
        (torch_file(state=b"\x80\x02u."), "malformed pickle (UnpicklingError)"),
        (torch_file(state=b"\x80\x02NQ."), "malformed storage"),
        (torch_file(state=pickle.dumps(["w"], 2)), "no state dictionary"),
        (torch_file(state=pickle.dumps({"w": 1}, 2), keys=b"\x80\x02].", tail=b"")[:-8], "entry 'w' is no tensor"),
        (torch_file(state=state_pickle(offset=1)), "tensor 'w' reaches beyond its storage"),
        (torch_file(state=state_pickle(shape=(9, 9), strides=(0, 0))), "tensor 'w' reaches beyond its storage"),
        (torch_file(state=state_pickle(offset=-1)), "malformed tensor"),
        (torch_file(keys=pickle.dumps(["1"], 2)), "storage '1' is unknown or missing"),
        (torch_file(count=7), "storage '0' has 7 values in place of 6"),
        (torch_file(tail=VALUES.tobytes()[:-1]), "truncated"),
        (torch_file(tail=VALUES.tobytes() + b"?"), "1 bytes too many"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_other_files_are_refused(data: bytes, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    message = f"Weights {str(path)!r} are no usable torch file: {problem}. Install the package that brings them again."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        read_torch_weights(path)
    assert not (tmp_path / "evil").exists()


def test_every_truncation_and_every_changed_byte_is_refused_or_read(tmp_path: Path) -> None:
    whole = torch_file()
    path = tmp_path / "weights.pth"
    outcomes: collections.Counter[str] = collections.Counter()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:index] + bytes([whole[index] ^ 0x55]) + whole[index + 1 :] for index in range(len(whole))]
    for data in damaged:
        path.write_bytes(data)
        try:
            read_torch_weights(path)
            outcomes["read"] += 1
        except WeightsError:
            outcomes["refused"] += 1
    # What is still readable differs in values or in strings that carry no meaning.
    assert outcomes["refused"] > len(whole) + 100


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "absent.pth"
    message = f"Weights {str(path)!r} cannot be read: No such file or directory."
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        read_torch_weights(path)
