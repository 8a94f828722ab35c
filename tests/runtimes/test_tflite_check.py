import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecv.errors import ArtifactError
from edgecv.flatbuffer import Table, root
from edgecv.runtimes.litert import LiteRtRuntime
from edgecv.runtimes.tflite_check import check_model

SAMPLE = Path(__file__).parents[1] / "golden" / "robustness" / "separable-tflite-int8.tflite"
DATA = SAMPLE.read_bytes()


def first(table: Table | None) -> Table:
    assert table is not None
    return table


def place_of(table: Table, field: int) -> int:
    place = table.place(field)
    assert place is not None
    return place


def elements_of(table: Table, field: int) -> int:
    place = table._target(field)
    assert place is not None
    return place + 4


MAIN = next(root(DATA, b"TFL3").tables(2))
QUANTISED = next(tensor for tensor in MAIN.tables(0) if (table := tensor.table(4)) is not None and table.length(2) == 1)
KERNEL = next(tensor for tensor in MAIN.tables(0) if (table := tensor.table(4)) is not None and table.length(2) > 1)


def scale(value: float) -> Callable[[bytearray], None]:
    place = elements_of(first(QUANTISED.table(4)), 2)
    return lambda data: struct.pack_into("<f", data, place, value)


def word(place: int, value: int) -> Callable[[bytearray], None]:
    return lambda data: struct.pack_into("<I", data, place, value)


def test_sound_files_pass() -> None:
    for path in SAMPLE.parent.glob("*.tflite"):
        check_model(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        *(
            (scale(value), rf"has the scale {re.escape(f'{value:g}')}")
            for value in (float("inf"), float("nan"), -1.0, 0.0, 1e38)
        ),
        (word(elements_of(KERNEL, 0), 1000), "bytes"),
        (word(elements_of(KERNEL, 0), 0xFFFFFFFF), r"has the shape \[-1\b"),
        (word(place_of(KERNEL, 2), 100_000), r"is in buffer 100000 of \d+"),
        (word(elements_of(MAIN, 1), 5000), r"number 5000 stands where there are \d+"),
        (word(elements_of(next(MAIN.tables(3)), 2), 5000), r"number 5000 stands where there are \d+"),
        (word(elements_of(next(MAIN.tables(3)), 1), 0xFFFFFFFE), r"number -2 stands where there are \d+"),
        (word(elements_of(first(KERNEL.table(4)), 2) - 4, 3), "scales of its side|zero points"),
    ],
)
def test_what_the_engine_falls_over_is_refused(
    change: Callable[[bytearray], None], problem: str, tmp_path: Path
) -> None:
    data = bytearray(DATA)
    change(data)
    path = tmp_path / "damaged.tflite"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"^'.*' cannot be opened as TFLite: .*({problem}).*\. Export it again\.$"):
        LiteRtRuntime().open(path)
