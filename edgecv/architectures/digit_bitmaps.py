"""The ten digits on bitmaps of 12 rows by 7 columns: what the outputs of the LeNet-5 of 1998 compare F6 with.

The paper's figure 3 shows such bitmaps of the ASCII set; these are edgecv's own drawings.
"""

import numpy as np

__all__ = ["DIGIT_BITMAPS"]

_DRAWN = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
.#####.  ...##..  .#####.  .#####.  ....##.  #######  ..####.  #######  .#####.  .#####.
##...##  ..###..  ##...##  ##...##  ...###.  ##.....  .##....  ##...##  ##...##  ##...##
##...##  .####..  .....##  .....##  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  .....##  .##.##.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  ..####.  ##..##.  ######.  ######.  ....##.  .#####.  ##...##
##...##  ...##..  ...##..  .....##  ##..##.  .....##  ##...##  ...##..  ##...##  .######
##...##  ...##..  ..##...  .....##  #######  .....##  ##...##  ...##..  ##...##  .....##
##...##  ...##..  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
##...##  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  ..##...  ##...##  ....##.
.#####.  .######  #######  .#####.  ....##.  .#####.  .#####.  ..##...  .#####.  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def _bitmaps() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return ``(10, 84)``, the rows of each digit behind one another, 1 where it is drawn and −1 elsewhere."""
    rows = [line.split() for line in _DRAWN.split("\n") if line]
    digits = ["".join(parts) for parts in zip(*rows, strict=True)]
    return np.array([[1 if dot == "#" else -1 for dot in digit] for digit in digits], "float32")


DIGIT_BITMAPS = _bitmaps()
