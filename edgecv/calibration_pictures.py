"""Pictures for int8: found, looked at, and divided into those that ranges are learnt from and those to judge on.

Every fifth is held out. What is judged on pictures that the ranges fit would look better than it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.artifact import hash_file
from edgecv.calibration import Calibration
from edgecv.errors import OptionError, PictureError
from edgecv.pictures import PICTURE_SUFFIXES, read_picture

__all__ = [
    "FEW_PICTURES",
    "HELD_OUT",
    "CalibrationPictures",
    "CalibrationSource",
    "as_calibration",
    "calibration_pictures",
    "is_noise",
]

Array = np.ndarray[Any, np.dtype[Any]]

# One picture of so many is held out.
HELD_OUT = 5
# With fewer, the extremes of activations are a matter of luck.
FEW_PICTURES = 100
# Neighbours in noise correlate by at most 0.12 (seeded, 16 to 512 pixels wide, uniform, normal and black and white, as
# PNG and as JPEG down to quality 75); in photos, scanned text and lawns by 0.68 and more, in dithered ones by 0.27.
_UNCORRELATED = 0.15
# Of larger pictures the middle is looked at.
_LOOKED_AT = 512
_SMALLEST = 8


@dataclass(frozen=True, kw_only=True)
class CalibrationPictures:
    """Pictures to calibrate on, and others to judge on.

    Attributes:
        calibration: Ranges are learnt from these.
        held_out: Never used to calibrate; empty where there are fewer than five in all.
        notes: What the user should know.
    """

    calibration: Calibration
    held_out: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def hashes(self) -> frozenset[str]:
        """Return the sha256 of each picture that calibrates."""
        return frozenset(map(hash_file, self.calibration.paths))


CalibrationSource = Path | str | Iterable[Path | str] | Calibration | CalibrationPictures


def as_calibration(source: CalibrationSource) -> CalibrationPictures:
    """Return pictures that are divided already as they are; see `calibration_pictures`."""
    return source if isinstance(source, CalibrationPictures) else calibration_pictures(source)


def calibration_pictures(
    source: "Path | str | Iterable[Path | str] | Calibration", *, noise: bool = False
) -> CalibrationPictures:
    """Find pictures to calibrate on, and hold out every fifth.

    Args:
        source: A folder of pictures, also in folders of classes; or picture files in an order of your own. All pictures
            of a Calibration calibrate, and none is held out.
        noise: Take pictures of random noise, too.

    Raises:
        OptionError: ``source`` is no folder, or names no picture.
        PictureError: A picture cannot be read, or is random noise.
    """
    if isinstance(source, Calibration):
        return CalibrationPictures(calibration=source, notes=_notes(len(source.paths), 0))
    paths = _in_folder(Path(source)) if isinstance(source, str | Path) else [Path(each) for each in source]
    if not paths:
        raise OptionError("There are no pictures to calibrate on. Give a folder of real ones, 100 or more.")
    different = _different(paths)
    for path in different:
        _check(path, noise=noise)
    held_out = tuple(different[HELD_OUT - 1 :: HELD_OUT])
    chosen = tuple(path for place, path in enumerate(different, start=1) if place % HELD_OUT)
    return CalibrationPictures(
        calibration=Calibration(paths=chosen),
        held_out=held_out,
        notes=_notes(len(chosen), len(paths) - len(different)),
    )


def is_noise(pixels: Array) -> bool:
    """Tell whether a picture is random noise: a pixel says nothing of the two beside it, nor of those below.

    Args:
        pixels: uint8 ``(height, width, channels)``.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < _SMALLEST:
        return False  # too small to tell
    top, left = max(0, (height - _LOOKED_AT) // 2), max(0, (width - _LOOKED_AT) // 2)
    grey = pixels[top : top + _LOOKED_AT, left : left + _LOOKED_AT].mean(axis=2, dtype=np.float64)
    pairs = [(values[:-lag], values[lag:]) for values in (grey, grey.T) for lag in (1, 2)]
    return all(abs(_correlation(*pair)) < _UNCORRELATED for pair in pairs)


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / scale if scale > 0 else 1.0  # one colour is no noise


def _in_folder(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise OptionError(f"Calibration folder {str(folder)!r} {what}. Name a folder of real pictures, 100 or more.")
    try:
        found = sorted(path for path in folder.rglob("*") if _is_picture(path, folder))
    except OSError as error:
        raise OptionError(f"Folder {str(folder)!r} cannot be read: {error.strerror}. Name another one.") from error
    if not found:
        raise OptionError(f"Folder {str(folder)!r} holds no picture to calibrate on. Give real ones, 100 or more.")
    return found


def _is_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def _different(paths: Sequence[Path]) -> list[Path]:
    """Return the pictures without copies: one to judge on must not calibrate under another name."""
    found: dict[str, Path] = {}
    for path in paths:
        try:
            found.setdefault(hash_file(path), path)
        except OSError:  # reading it says what is wrong
            read_picture(path)
            raise
    return list(found.values())


def _check(path: Path, *, noise: bool) -> None:
    pixels = read_picture(path).pixels
    if not noise and is_noise(pixels):
        raise PictureError(
            f"Picture {str(path)!r} is random noise, from which ranges of real pictures cannot be learnt. "
            "Take it out, or allow it with --calibration-noise."
        )


def _notes(count: int, copies: int) -> tuple[str, ...]:
    notes = []
    if copies:
        notes.append(f"{copies} of the calibration pictures are copies of others and were left out.")
    if count < FEW_PICTURES:
        notes.append(f"Only {count} pictures calibrate: ranges of activations want {FEW_PICTURES} or more real ones.")
    return tuple(notes)
