"""A grid of pictures, each drawn several times side by side: what it is, what is true, what was answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.data.samples import Sample
from edgecv.plot_names import name_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

__all__ = ["WIDTH", "Case", "Key", "PictureGrid", "Shown", "file_name"]

Array = np.ndarray[Any, np.dtype[Any]]
Key = tuple[Any, Any, str]  # colour, line style or hatch, meaning

WIDTH = 15.0  # inches
_COLUMNS = 6  # drawings a row
_TITLE, _GAP, _LINE = 0.3, 0.1, 0.25  # inches: above a picture, beside it; a line of text
_KEYS_A_LINE = 8
_LARGEST = 640  # pixels of a drawn picture's longer side
_LONGEST_NAME = 24  # letters of a file


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """The pixels of a picture as they are drawn: of a large one, fewer.

    Attributes:
        pixels: uint8 ``(height, width, 3)`` RGB.
        size: ``(height, width)`` of the picture itself.
        step: How many times smaller it is drawn; each side is divided by it and rounded up.
    """

    pixels: Array
    size: tuple[int, int]
    step: int

    @classmethod
    def of(cls, sample: Sample) -> "Shown":
        """Read a picture.

        Raises:
            PictureError: It cannot be read.
        """
        from PIL import Image

        pixels = sample.picture.read().pixels
        step = -(-max(pixels.shape) // _LARGEST)
        fewer = pixels if step == 1 else np.asarray(Image.fromarray(pixels).reduce(step))
        return cls(pixels=fewer, size=(pixels.shape[0], pixels.shape[1]), step=step)

    def draw(self, axes: "Axes", pixels: Array | None = None) -> None:
        """Draw it, or others in its place, so that the axes count pixels of the whole picture, as boxes do."""
        height, width = self.size
        axes.imshow(self.pixels if pixels is None else pixels, extent=(0, width, height, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One picture of a grid.

    Attributes:
        title: What stands above it.
        size: ``(height, width)`` in pixels.
        drawings: What is drawn side by side; as many for each case of a grid, a divisor of 6.
    """

    title: str
    size: tuple[int, int]
    drawings: Sequence[Callable[["Axes"], None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureGrid:
    """Pictures that are ready to be drawn.

    Attributes:
        heading: Says which pictures these are, a sentence a line.
        cases: The pictures, at least one.
        key: What colours stand for.
        height: Of the whole, in inches, `WIDTH` wide.
    """

    heading: str
    cases: Sequence[Case]
    key: Sequence[Key]

    @property
    def height(self) -> float:
        """Rows as high as most of their pictures need."""
        shapes = [height / width for case in self.cases for height, width in [case.size]]
        row = (WIDTH / _COLUMNS - _GAP) * float(np.clip(np.median(shapes), 0.4, 1.6)) + _TITLE
        return row * self._rows + self._foot + _LINE * (2 + self.heading.count("\n"))

    def draw(self, figure: "FigureBase") -> None:
        """Draw it onto a figure or a part of one."""
        parts: Any = figure.subfigures(2, 1, height_ratios=[self.height - self._foot, self._foot])
        body, foot = parts
        body.suptitle(self.heading, fontsize=11).set_parse_math(False)
        grid: Any = body.subfigures(self._rows, self._columns, squeeze=False, wspace=0.02)
        for place, case in zip(grid.flat, self.cases, strict=False):
            place.suptitle(case.title, fontsize=8.5).set_parse_math(False)
            axes = place.subplots(1, len(case.drawings), squeeze=False).flat
            for axis, draw in zip(axes, case.drawings, strict=True):
                axis.axis("off")
                draw(axis)
        _draw_key(foot, self.key)

    @property
    def _foot(self) -> float:
        return _LINE * (1 + -(-len(self.key) // _KEYS_A_LINE))

    @property
    def _columns(self) -> int:
        return _COLUMNS // len(self.cases[0].drawings)

    @property
    def _rows(self) -> int:
        return -(-len(self.cases) // self._columns)


def file_name(sample: Sample) -> str:
    """Return a picture's name without folders; of a long one the end, where names of one set differ."""
    name = Path(sample.name).name
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _draw_key(figure: "FigureBase", key: Sequence[Key]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=colour, linestyle=style, linewidth=2)
        if style in ("-", "--", ":")
        else Patch(facecolor=colour, hatch=style or None, edgecolor="#c0c0c0" if style else "none")
        for colour, style, _ in key
    ]
    names = [meaning for *_, meaning in key]
    numbers = [str(number) for number in range(len(key))]
    legend = figure.legend(handles, numbers, loc="center", ncols=min(len(key), _KEYS_A_LINE), fontsize=8)
    legend.set_frame_on(False)
    name_legend(legend, names)
