"""The proof that travels inside an artifact: a few answers of the original, to be demanded again on any device.

The pictures are not stored: they are seeded noise and photos that ship with edgecv, so a device can make
them again. Their sha256 is stored, because another release of Pillow might resize a photo otherwise.
"""

import base64
import contextlib
import hashlib
import itertools
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.detection import DETECTIONS
from edgecv.errors import ArtifactError, OptionError
from edgecv.observed import Observer
from edgecv.photos import shipped_photos
from edgecv.pictures import fit_picture
from edgecv.preprocess import Preprocess
from edgecv.report import Report
from edgecv.runtime import Arrays, Runner, Runtime
from edgecv.runtimes.container import damaged
from edgecv.verification import (
    Head,
    Pictures,
    compare_outputs,
    gather_pictures,
    make_report,
    merge,
    noise_picture,
    observed,
    open_quietly,
    original_answers,
    picture_size,
    run_batched,
    tolerance_of,
)

if TYPE_CHECKING:
    from edgecv.deployable import Deployable

__all__ = ["record_cases", "recorded_pictures", "verify_recorded"]

Array = np.ndarray[Any, np.dtype[Any]]

_PHOTOS, _NOISE = 2, 1
# Larger outputs are sampled at a fixed step.
_MOST_VALUES = 4096
# Bytes of a mask, compressed: three cases of mask and scores then take less than 100 KB of the file.
_MOST_PACKED = 6144
# A damaged file must not fill the memory.
_MOST_UNPACKED = 2**28


def record_cases(deployable: "Deployable", pictures: Pictures, answers: Arrays) -> list[dict[str, Any]]:
    """Return the cases for the metadata; the original runs again only where no reproducible picture was used."""
    if not any(name.startswith("photo:") for name in pictures.names):
        shipped = gather_pictures(deployable, None)
        chosen = _chosen(shipped.names)
        pictures = Pictures(names=tuple(shipped.names[i] for i in chosen), values=shipped.values[chosen])
        answers = original_answers(deployable, pictures)
    whole = DETECTIONS if "count" in answers else ()
    chosen = _chosen(pictures.names)
    recorded = {name: _recorded(values[chosen], whole=name in whole) for name, values in answers.items()}
    return [
        {
            "picture": pictures.names[index],
            "sha256": _sha256(pictures.values[index]),
            "outputs": {name: rows[place] for name, rows in recorded.items()},
        }
        for place, index in enumerate(chosen)
    ]


def verify_recorded(
    path: Path,
    metadata: Mapping[str, Any],
    name: str,
    runtime: Runtime,
    devices: Sequence[str],
    *,
    tolerance: float | None = None,
    observe: Observer | None = None,
) -> Report:
    """Run the recorded cases on every device.

    Args:
        path: The artifact.
        metadata: Its metadata.
        name: Name of the runtime.
        runtime: Opens it.
        devices: Devices to run on.
        tolerance: Largest relative difference; by default that of the artifact's precision.
        observe: Is called with what each run answered.

    Raises:
        ArtifactError: The artifact records no cases, none can be made again here, or its metadata are damaged.
    """
    cases, made = _remade(path, metadata)
    recorded = _read(path, metadata, made)
    skipped = len(cases) - len(made)
    notes = (f"{skipped} recorded pictures are resized otherwise by this Pillow and were left out",) if skipped else ()
    inside = metadata.get("checkpoints") or ()
    most = tolerance_of(path, metadata) if tolerance is None else tolerance
    reports = [_check(open_quietly(runtime, path, device, inside), name, recorded, most, observe) for device in devices]
    merged = merge(reports)
    return Report(checks=merged.checks, task=merged.task, notes=(*merged.notes, *notes))


def recorded_pictures(path: Path, metadata: Mapping[str, Any]) -> Pictures:
    """Return the recorded pictures, made again.

    Raises:
        ArtifactError: The artifact records no cases, or none can be made again here.
    """
    _, made = _remade(path, metadata)
    names = tuple(str(case["picture"]) for case, _ in made)
    return Pictures(names=names, values=np.stack([picture for _, picture in made]))


def _remade(path: Path, metadata: Mapping[str, Any]) -> tuple[list[Any], list[tuple[Mapping[str, Any], Array]]]:
    """Return all cases, and those whose picture can be made again, with it."""
    cases = (metadata.get("verification") or {}).get("cases") or []
    if not cases:
        raise ArtifactError(f"{str(path)!r} records no verification. Export it with --verify, or give --against MODEL.")
    with _reading(path):
        made = [(case, picture) for case in cases if (picture := _made_again(case, metadata)) is not None]
    if not made:
        raise ArtifactError(f"{str(path)!r}: no recorded picture can be made again here. Give --against MODEL.")
    return cases, made


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what reading recorded cases of any form may raise into the error of damaged metadata."""
    try:
        yield
    except OptionError as error:
        raise damaged(path, error) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"its recorded cases make no sense ({type(error).__name__}: {error})") from error


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """What an artifact records: what is asked, and what the original answered.

    Attributes:
        head: What comparing needs to know of the outputs.
        names: Of the pictures.
        pictures: uint8 ``(pictures, height, width, channels)``.
        feed: What the artifact's input takes, of the same shape.
        batch: Pictures per run.
        answers: The original's, one row a picture, flat and sampled.
        steps: Output → the step at which its flattened values were sampled.
    """

    head: Head
    names: tuple[str, ...]
    pictures: Array
    feed: Array
    batch: int
    answers: Arrays
    steps: dict[str, int]


def _read(path: Path, metadata: Mapping[str, Any], made: Sequence[tuple[Mapping[str, Any], Array]]) -> _Recorded:
    pictures = feed = np.stack([picture for _, picture in made])
    with _reading(path):
        if metadata["input"]["dtype"] == "float32":
            feed = Preprocess.from_json(metadata["preprocess"]).apply(feed.astype(np.float32), np)
        answers, steps = _answers([case for case, _ in made])
        head = Head.of(metadata["task"], metadata["postprocess"], metadata.get("graph_resize"))
    lacking = [name for name in _wanted(metadata) if name not in answers]
    if lacking:
        raise damaged(path, f"its recorded cases lack {lacking[0]!r}")
    return _Recorded(
        head=head,
        names=tuple(str(case["picture"]) for case, _ in made),
        pictures=pictures,
        feed=feed,
        batch=metadata["input"]["shape"][0] or 1,
        answers=answers,
        steps=steps,
    )


def _wanted(metadata: Mapping[str, Any]) -> list[str]:
    """Return the outputs and checkpoints that the original's answers must hold; of top-k, all classes are recorded."""
    outputs = [] if metadata["postprocess"]["top_k"] else [output["name"] for output in metadata["outputs"]]
    return [*outputs, *(metadata.get("checkpoints") or ())]


def _check(runner: Runner, name: str, recorded: _Recorded, tolerance: float, observe: Observer | None = None) -> Report:
    answers, steps = recorded.answers, recorded.steps
    given = run_batched(runner, recorded.feed, recorded.batch)
    if observe is not None:
        pictures = Pictures(names=recorded.names, values=recorded.pictures)
        observe(observed(runner, name, recorded.batch, pictures, answers, given, tolerance, steps))
    if recorded.head.segmentation is None and recorded.head.nms is None:
        given = {
            output: values.reshape(len(values), -1)[:, :: steps.get(output, 1)] for output, values in given.items()
        }
    elif recorded.head.nms is not None:
        answers = {output: _shaped(values, given.get(output)) for output, values in answers.items()}
    # That the outputs vary between pictures was shown at export, on all pictures.
    compared = compare_outputs(recorded.head, answers, given, tolerance, vacuity=False, steps=steps)
    return make_report(runner, name, compared, recorded.names, recorded.batch, tolerance)


def _shaped(values: Array, like: Array | None) -> Array:
    """Give recorded values the artifact's shape, where all of them were recorded."""
    return values.reshape(like.shape) if like is not None and like.size == values.size else values


def _chosen(names: Sequence[str]) -> list[int]:
    photos = [index for index, name in enumerate(names) if name.startswith("photo:")]
    noise = [index for index, name in enumerate(names) if name.startswith("noise:")]
    return [*photos[:_PHOTOS], *noise[:_NOISE]]


def _recorded(values: Array, *, whole: bool) -> list[dict[str, Any]]:
    """Return what is stored of an output's values ``(cases, …)``, one document a case."""
    flat = values.reshape(len(values), -1)
    if flat.dtype.kind in "iu" and not whole:
        return _packed(flat, values.shape[1:])
    step = 1 if whole else _step(-(-flat.shape[1] // _MOST_VALUES), values.shape[1:])
    return [{"dtype": flat.dtype.name, "step": step, "values": _text(_little(row[::step]))} for row in flat]


def _packed(flat: Array, sides: Sequence[int]) -> list[dict[str, Any]]:
    """Store whole numbers ``(cases, count)`` compressed, at the smallest step at which each case is small enough."""
    fits = flat.min(initial=0) >= 0 and flat.max(initial=0) <= np.iinfo(np.uint8).max
    small = flat.astype(np.uint8) if fits else flat
    step = 1
    while True:
        packed = [zlib.compress(_little(row[::step]), 9) for row in small]
        largest = max(map(len, packed))
        if largest <= _MOST_PACKED:
            break
        step = _step(max(step + 1, step * largest // _MOST_PACKED), sides)
    about = {"dtype": flat.dtype.name, "step": step, "packed": small.dtype.name}
    return [{**about, "values": _text(each)} for each in packed]


def _step(least: int, sides: Sequence[int]) -> int:
    """Return the smallest step from ``least`` on that shares no factor with a side.

    Any other would look at the same columns in every row, or at the same classes of every pixel.
    """
    return next(step for step in itertools.count(least) if all(math.gcd(step, side) == 1 for side in sides))


def _little(values: Array) -> bytes:
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _unpacked(case: Mapping[str, Any]) -> Array:
    content = base64.b64decode(case["values"])
    stored = case.get("packed")
    if stored is not None:
        content = _decompressed(content)
    dtype = np.dtype(stored or case["dtype"])
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(np.dtype(case["dtype"]))


def _decompressed(content: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        whole = unpacker.decompress(content, _MOST_UNPACKED)
    except zlib.error as error:
        raise ValueError(f"values are damaged: {error}") from error
    if not unpacker.eof:
        raise ValueError("values are cut, or too many")
    return whole


def _answers(cases: Sequence[Mapping[str, Any]]) -> tuple[Arrays, dict[str, int]]:
    answers: Arrays = {}
    steps: dict[str, int] = {}
    for output, first in cases[0]["outputs"].items():
        answers[output] = np.stack([_unpacked(case["outputs"][output]) for case in cases])
        steps[output] = int(first["step"])
        if steps[output] < 1:
            raise ValueError(f"step {steps[output]}")
    return answers, steps


def _made_again(case: Mapping[str, Any], metadata: Mapping[str, Any]) -> Array | None:
    kind, _, name = str(case["picture"]).partition(":")
    shape = metadata["input"]["shape"]
    resize = metadata.get("graph_resize") or {}
    height, width = picture_size(shape, (resize.get("height", 0), resize.get("width", 0)))
    channels = shape[3]
    if kind == "noise":
        picture = noise_picture(int(name), (height, width, channels))
    elif name in (photos := shipped_photos()):
        fit = Preprocess.from_json(metadata["preprocess"]).fit
        picture = fit_picture(photos[name], fit, (height, width), channels)
    else:
        return None
    return picture if _sha256(picture) == case["sha256"] else None


def _sha256(picture: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
