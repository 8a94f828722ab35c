"""Proof that a fully convolutional network answers like the classifier that it was made from.

What can be true depends on the network, so that each has its rules:

* VALID networks: every cell equals the classifier run on that crop of the picture (`crops`).
* SAME networks pad their crop with zeros where the whole picture has neighbours, so that no cell equals its
  crop. Instead: (a) the two are equal at the training size (`training_size`); (b) every cell equals the
  classifier's own head applied to that window of its own feature map of the whole picture
  (`head_on_windows`); (c) cells whose receptive field lies inside two overlapping sub-pictures agree
  (`sub_pictures`).
* Squeeze-and-excitation pools over the whole picture: (a) and (b) alone.
* ``window="cell"``: (b) on windows of one cell, and (c).

The classifier's side runs its own layers, one by one; nothing of the rewriting takes part in it.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from edgecv.classifier_head import Head, Split, find_head, last_activation
from edgecv.comparison import TOLERANCES
from edgecv.decoders import SlidingWindow
from edgecv.errors import ModelError, OptionError
from edgecv.fcn_grid import cells_inside, shared_side
from edgecv.fcn_measure import Compared, check
from edgecv.layer_graph import LayerGraph, Step, evaluate, layer_graph
from edgecv.network_outputs import decoder_order
from edgecv.original import noise_picture
from edgecv.photos import shipped_photos
from edgecv.pictures import fit_picture, read_picture
from edgecv.preprocess import Fit, Preprocess
from edgecv.receptive_field import POOLS, ReceptiveField, trace
from edgecv.replacing import replaced
from edgecv.report import Report

__all__ = ["RULES", "prove"]

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]

RULES = {
    "crops": "every cell equals the classifier on that crop",
    "training_size": "(a) equal at the training size",
    "head_on_windows": "(b) every cell equals the classifier's head on that window of its feature map",
    "sub_pictures": "(c) cells agree whose receptive field lies inside two overlapping sub-pictures",
    "grid": "the two have the same outputs and grid",
}
# Dense layers whose sums all but cancel out lose two digits, in the classifier as in the FCN.
_TOLERANCE = TOLERANCES["float32"]
_TOLERANCES = {"crops": 1e-5}
_TAKEN_OFF = ("sigmoid", "softmax")
_NOISE_PICTURES = 2
# Rows and columns beside the first cell; different, so that height and width cannot be mistaken.
_MORE_CELLS = (2, 3)
_LARGEST_SIDE = 4096  # pixels of a sub-picture; above, memory goes by the gigabyte
_SUB_PIXELS = 4_000_000  # of all sub-pictures together; at least two pictures are cut into them, though
_FEWEST_PICTURES = 2


def prove(
    fcn: keras.Model,
    classifier: keras.Model,
    *,
    images: Iterable[Path | str | Array] | None = None,
    preprocess: Preprocess | None = None,
) -> Report:
    """Prove an FCN against its classifier.

    Args:
        fcn: What `edgecv.to_fcn` made.
        classifier: What it was made from.
        images: Pictures, stretched to the sizes that the rules need; the default are the photos that ship
            with edgecv. Seeded noise is added.
        preprocess: From 0…255 RGB to the network's input; the default is what the classifier carries.

    Returns:
        One check a rule, with the number of cells compared. `Check.relative_diff` is the largest
        max|a − b| / max|a| of an output over a picture's cells; at most 1e-5 (crops) or 1e-4 (the other
        rules; 5e-3 in half precision) passes, if the outputs vary between cells by ten times that. A softmax
        or sigmoid at the end is the same in both, and taken off.

    Raises:
        ModelError: One of the two is not what it should be.
        OptionError: ``images`` is empty, or the scaling does not fit the channels.
        PictureError: A picture cannot be read.
    """
    with keras.device("cpu:0"):
        pair = _pair_of(fcn, classifier)
        contradiction = _contradiction(pair, getattr(fcn, "edgecv_info", None)) or _other_boxes(fcn, classifier)
        if contradiction:
            return Report(checks=(check("grid", [], tolerance=_TOLERANCE, problem=contradiction),))
        source = _source(pair, classifier, images, preprocess)
        floor = TOLERANCES["float16"] if _in_half_precision(pair) else 0.0
        with _without_activations(pair):
            checks = tuple(
                check(rule, _RULE_OF[rule](pair, source), tolerance=max(_TOLERANCES.get(rule, _TOLERANCE), floor))
                for rule in _rules(pair)
            )
    return Report(checks=checks, notes=(*_notes(pair), *source.notes))


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """An FCN and its classifier.

    Attributes:
        fcn: Steps of the FCN.
        original: Steps of the classifier.
        head: Where the classifier's maps become answers.
        size: The classifier's input size.
        field: What the FCN's cells see.
        cells: The FCN's ``(rows, columns)`` at that size: (1, 1) unless it works on single cells.
    """

    fcn: LayerGraph
    original: LayerGraph
    head: Head
    size: Pair
    field: ReceptiveField
    cells: Pair

    @property
    def channels(self) -> int:
        return int(self.original.shapes[self.original.input][-1] or 0)

    @property
    def single_cells(self) -> bool:
        return self.cells != (1, 1)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Pictures at any size.

    Attributes:
        pictures: Name → uint8 RGB; None is noise of the seed in the name.
    """

    pictures: Mapping[str, Array | None]
    preprocess: Preprocess
    channels: int
    notes: tuple[str, ...]

    def at(self, size: Pair, count: int | None = None) -> Iterator[tuple[str, Any]]:
        """Yield names and network inputs ``(1, height, width, channels)``; of few pictures one is noise."""
        names = list(self.pictures)
        chosen = names if count is None or count >= len(names) else [*names[: count - 1], names[-1]]
        for name in chosen:
            yield name, ops.convert_to_tensor(self._input(name, size))

    def _input(self, name: str, size: Pair) -> Array:
        picture = self.pictures[name]
        if picture is None:
            pixels = noise_picture(int(name.rpartition(":")[2]), (*size, self.channels))
        elif self.channels == 1:
            pixels = fit_picture(picture, Fit(), size, 1)
        else:  # more bands than three are the same three again
            pixels = np.resize(np.moveaxis(fit_picture(picture, Fit(), size), -1, 0), (self.channels, *size))
            pixels = np.moveaxis(pixels, 0, -1)
        return np.asarray(self.preprocess.apply(pixels[None].astype(np.float32), np), np.float32)


def _pair_of(fcn: keras.Model, classifier: keras.Model) -> _Pair:
    original, rewritten = layer_graph(classifier), layer_graph(fcn)
    shape = rewritten.shapes[rewritten.input]
    maps = all(len(rewritten.shapes[slot]) == 4 for slot in rewritten.outputs)
    if len(shape) != 4 or shape[1:3] != (None, None) or not maps:
        raise ModelError(
            f"{fcn.name!r} is no fully convolutional network: it takes {shape}. Make one of it with edgecv fcn."
        )
    head = find_head(original)
    _, height, width, _ = original.shapes[original.input]
    size = (int(height or 0), int(width or 0))
    traced = trace(rewritten, size)[0]
    return _Pair(fcn=rewritten, original=original, head=head, size=size, field=traced.field, cells=traced.cells)


def _contradiction(pair: _Pair, info: Any) -> str:
    """Say what makes the FCN another network's from the start; empty where nothing does."""
    numbers = [
        (graph.shapes[graph.input][-1], [graph.shapes[slot][-1] for slot in graph.outputs])
        for graph in (pair.original, pair.fcn)
    ]
    if numbers[0] != numbers[1]:
        said = [f"{channels} channels to {outputs} numbers" for channels, outputs in numbers]
        return f"the classifier maps {said[0]}, the FCN {said[1]}"
    ends = [[name for _, name in _activations(graph)] for graph in (pair.original, pair.fcn)]
    if ends[0] != ends[1]:
        return f"the classifier ends in {', '.join(ends[0])}, the FCN in {', '.join(ends[1])}"
    windows = {split.window for split in pair.head.splits.values()}
    if pair.single_cells and windows != {pair.cells}:
        return f"the FCN has {_size(pair.cells)} cells at the classifier's input size, {_size(pair.size)}"
    decoder = getattr(info, "decoder", None)
    if isinstance(decoder, SlidingWindow):
        if decoder.stride != pair.field.stride:
            return f"the FCN's file says stride {_size(decoder.stride)}, its layers {_size(pair.field.stride)}"
        if not pair.single_cells and (decoder.window, decoder.offset) != (pair.size, (0, 0)):
            return f"the FCN's file says window {_size(decoder.window)}, the classifier's is {_size(pair.size)}"
        if pair.single_cells and not _centred(decoder, pair.field):
            return f"the FCN's file says offset {decoder.offset}, which is not around what its cells see"
    return ""


def _other_boxes(fcn: keras.Model, localiser: keras.Model) -> str:
    """Say where the FCN's file reads the box's numbers otherwise than the localiser that says how; empty elsewhere."""
    decoder = getattr(getattr(fcn, "edgecv_info", None), "decoder", None)
    localisation = getattr(getattr(localiser, "edgecv_info", None), "localisation", None)
    if not isinstance(decoder, SlidingWindow) or localisation is None:
        return ""
    if decoder.box != "relative":
        return f"the FCN's file says box {decoder.box!r}, the localiser's is relative to its window"
    if decoder.sqrt_sizes != localisation.sqrt_sizes:
        kinds = ["square roots" if each.sqrt_sizes else "sides" for each in (decoder, localisation)]
        return f"the FCN's file says that width and height are {kinds[0]}, the localiser's that they are {kinds[1]}"
    orders = [decoder_order(fcn, decoder.outputs), decoder_order(localiser, localisation.outputs, "localisation")]
    if orders[0] != orders[1]:
        return "the FCN's file has class scores, objectness and box in another order than the localiser's"
    return ""


def _centred(decoder: SlidingWindow, field: ReceptiveField) -> bool:
    """Tell whether the first window has the centre of the first field, or lies half a pixel before it."""
    sides = zip(decoder.offset, decoder.window, field.start, field.size, strict=True)
    return all(2 * start + seen - 2 * offset - window in (0, 1) for offset, window, start, seen in sides)


def _in_half_precision(pair: _Pair) -> bool:
    steps = (*pair.original.steps, *pair.fcn.steps)
    return any(getattr(step.operation, "compute_dtype", None) in ("float16", "bfloat16") for step in steps)


def _activations(graph: LayerGraph) -> list[tuple[Step | None, str]]:
    return [last_activation(graph, slot) for slot in graph.outputs]


@contextlib.contextmanager
def _without_activations(pair: _Pair) -> Iterator[None]:
    """Take the softmax or sigmoid at the end off in both: what it turns relative, logits have absolute.

    A rounding error of 1e-5 in a logit of 50 would be one of 1e-5 in a probability.
    """
    ends = {
        id(step.operation): step.operation
        for step, name in (*_activations(pair.original), *_activations(pair.fcn))
        if step is not None and name in _TAKEN_OFF
    }
    with contextlib.ExitStack() as stack:
        for operation in ends.values():
            if hasattr(operation, "activation"):
                stack.enter_context(replaced(operation, "activation", keras.activations.linear))
            else:  # a Softmax layer, or an operation of keras.ops
                stack.enter_context(replaced(operation, "call", _unchanged))
        yield


def _unchanged(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _source(
    pair: _Pair, classifier: keras.Model, images: Iterable[Path | str | Array] | None, preprocess: Preprocess | None
) -> _Source:
    known = getattr(getattr(classifier, "edgecv_info", None), "preprocess", None)
    chosen = preprocess or known or Preprocess()
    chosen.check_channels(pair.channels)
    pictures: dict[str, Array | None] = {}
    if images is None:
        pictures.update({f"photo:{name}": photo for name, photo in shipped_photos().items()})
    else:
        for index, image in enumerate(images):
            named = isinstance(image, str | Path)
            pictures[str(image) if named else f"array:{index}"] = _pixels(image)
        if not pictures:
            raise OptionError("There are no pictures to verify on. Give at least one.")
    pictures.update({f"noise:{seed}": None for seed in range(_NOISE_PICTURES)})
    assumed = "The classifier does not say how it wants its pixels: it gets 0…255 RGB (set --preprocess)."
    notes = () if preprocess or known else (assumed,)
    return _Source(pictures=pictures, preprocess=chosen, channels=pair.channels, notes=notes)


def _pixels(image: Path | str | Array) -> Array:
    return read_picture(Path(image)).pixels if isinstance(image, str | Path) else image


def _rules(pair: _Pair) -> tuple[str, ...]:
    if pair.field.whole_picture:
        return ("head_on_windows",) if pair.single_cells else ("training_size", "head_on_windows")
    if pair.single_cells:
        return ("head_on_windows", "sub_pictures")
    return ("training_size", "head_on_windows", "sub_pictures") if pair.field.padded else ("crops",)


def _notes(pair: _Pair) -> tuple[str, ...]:
    notes = []
    if pair.field.whole_picture:
        notes.append(
            "The network pools over the whole picture inside (squeeze-and-excitation), so that every cell depends on "
            "all pixels: sub-pictures cannot agree and were not compared."
        )
    if pair.single_cells:
        notes.append(
            "Each cell has an answer of its own (window cell): there is none for the whole window to compare with the "
            "classifier's at the training size."
        )
    return tuple(notes)


def _crops(pair: _Pair, source: _Source) -> Iterator[Compared]:
    (height, width), (down, right) = pair.size, pair.field.stride
    for name, picture in source.at(_larger(pair)):
        grids = _run(pair.fcn, picture)
        corners = [(y * down, x * right) for y, x in _indices(grids[0])]
        crops = ops.concatenate([picture[:, y : y + height, x : x + width] for y, x in corners])
        yield from _compared(pair, name, _run(pair.original, crops), grids)


def _training_size(pair: _Pair, source: _Source) -> Iterator[Compared]:
    for name, picture in source.at(pair.size):
        yield from _compared(pair, name, _run(pair.original, picture), _run(pair.fcn, picture))


def _head_on_windows(pair: _Pair, source: _Source) -> Iterator[Compared]:
    """Cut the windows out of the classifier's own map of the whole picture, and run its own head on them."""
    steps = pair.original.steps
    in_head = {step.index for step in steps if pair.head.forms[step.outputs[0]] in ("flat", "vector")}
    splits = [(step, pair.head.splits[step.index]) for step in steps if step.index in pair.head.splits]
    body = [step for step in steps if step.index not in in_head]
    behind = [step for step in steps if step.index in in_head]
    for name, picture in source.at(_larger(pair)):
        grids = _run(pair.fcn, picture)
        maps = evaluate(body, {pair.original.input: picture}, {step.inputs[0] for step, _ in splits})
        cells = _indices(grids[0])
        windows = {step.inputs[0]: _windows(maps[step.inputs[0]], split, cells, pair) for step, split in splits}
        answers = evaluate(behind, windows, pair.original.outputs, lambda step: _on_window(step, pair))
        yield from _compared(pair, name, [_array(answers[slot]) for slot in pair.original.outputs], grids)


def _windows(feature_map: Any, split: Split, cells: Sequence[Pair], pair: _Pair) -> Any:
    rows, columns = (1, 1) if pair.single_cells else split.window
    return ops.concatenate([feature_map[:, y : y + rows, x : x + columns] for y, x in cells])


def _on_window(step: Step, pair: _Pair) -> Any:
    """Return what to call for a step of the head: a pool as large as the training map cannot run on one cell."""
    return _unchanged if pair.single_cells and type(step.operation) in POOLS else step.operation


def _sub_pictures(pair: _Pair, source: _Source) -> Iterator[Compared]:
    """Run the FCN on two sub-pictures, the second one stride down and right of the first."""
    sides = [
        shared_side(side, seen, stride, start, largest=_LARGEST_SIDE)
        for side, seen, stride, start in zip(
            pair.size, pair.field.size, pair.field.stride, pair.field.start, strict=True
        )
    ]
    if None in sides:
        return
    height, width = (int(side or 0) for side in sides)
    down, right = pair.field.stride
    count = max(_SUB_PIXELS // (2 * height * width), _FEWEST_PICTURES)
    for name, picture in source.at((height + down, width + right), count):
        first = _run(pair.fcn, picture[:, :height, :width])
        second = _run(pair.fcn, picture[:, down:, right:])
        rows, columns = (
            cells_inside(side, seen, stride, start)
            for side, seen, stride, start in zip(
                (height, width), pair.field.size, pair.field.stride, pair.field.start, strict=True
            )
        )
        # Cell g of the first is cell g - 1 of the second; both must see nothing but picture.
        shared = np.ix_(range(rows.start + 1, rows.stop), range(columns.start + 1, columns.stop))
        same = np.ix_(range(rows.start, rows.stop - 1), range(columns.start, columns.stop - 1))
        for output, one, other in zip(pair.fcn.output_names, first, second, strict=True):
            yield Compared(picture=name, output=output, expected=_flat(one[0][shared]), given=_flat(other[0][same]))


_RULE_OF = {
    "crops": _crops,
    "training_size": _training_size,
    "head_on_windows": _head_on_windows,
    "sub_pictures": _sub_pictures,
}


def _larger(pair: _Pair) -> Pair:
    """Return a size of the picture with several cells each way, on the grid."""
    height, width = (
        side + more * stride for side, more, stride in zip(pair.size, _MORE_CELLS, pair.field.stride, strict=True)
    )
    return height, width


def _run(graph: LayerGraph, picture: Any) -> list[Array]:
    results = evaluate(graph.steps, {graph.input: picture}, graph.outputs)
    return [_array(results[slot]) for slot in graph.outputs]


def _array(tensor: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(tensor))


def _flat(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1]).astype(np.float64)


def _indices(grid: Array) -> list[Pair]:
    return [(y, x) for y in range(grid.shape[1]) for x in range(grid.shape[2])]


def _compared(pair: _Pair, name: str, expected: Sequence[Array], given: Sequence[Array]) -> Iterator[Compared]:
    for output, one, other in zip(pair.fcn.output_names, expected, given, strict=True):
        yield Compared(picture=name, output=output, expected=_flat(one), given=_flat(other))


def _size(pair: Sequence[int]) -> str:
    return f"{pair[0]}x{pair[1]}"
