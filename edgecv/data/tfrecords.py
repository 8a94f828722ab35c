"""Random access to TFRecord files, which are made for reading from the start: an index of where records lie.

Reference:
    TensorFlow, "TFRecord and tf.train.Example": each record is its length (uint64, little endian), a checksum of that
    (4 bytes), the data, and a checksum of the data, https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from edgecv.errors import DataError

__all__ = ["TfRecords"]

_HEADER, _FOOTER = 12, 4


class TfRecords(Sequence[bytes]):
    """The records of some files, in their order; in memory is only where each lies."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Look at the lengths of all records.

        Raises:
            DataError: A file is cut off, or no TFRecord file.
        """
        self._places = [(file, start, length) for file in files for start, length in _index(file)]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        file, start, length = self._places[index]
        # Opened each time, so that threads do not move each other's place.
        with file.open("rb") as content:
            content.seek(start)
            return content.read(length)


def _index(file: Path) -> list[tuple[int, int]]:
    size, place, found = file.stat().st_size, 0, []
    with file.open("rb") as content:
        while place < size:
            content.seek(place)
            header = content.read(_HEADER)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else size
            end = place + _HEADER + length + _FOOTER
            if end > size:
                raise DataError(
                    f"TFRecord file {str(file)!r} is cut off or damaged at byte {place:,}. Prepare it again."
                )
            found.append((place + _HEADER, length))
            place = end
    return found
