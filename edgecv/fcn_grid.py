"""Arithmetic on the grid of a fully convolutional network, along one axis: which cells see nothing but picture."""

__all__ = ["cells_inside", "shared_side"]

_MOST_SHARED = 3  # cells that two sub-pictures should share along an axis


def cells_inside(side: int, seen: int, stride: int, start: int) -> range:
    """Return the cells whose receptive field lies inside a picture: no padding reaches them.

    Args:
        side: Of the picture, in pixels.
        seen: Pixels that a cell sees.
        stride: Pixels from one cell to the next.
        start: First pixel that cell 0 sees; negative in the padding.
    """
    first = max(-(start // stride), 0)  # the ceiling of -start / stride
    return range(first, max((side - seen - start) // stride + 1, first))


def shared_side(window: int, seen: int, stride: int, start: int, *, largest: int) -> int | None:
    """Return the side of two sub-pictures, one stride apart, that share cells which see nothing but picture.

    Args:
        window: A side at which the network keeps its grid, in pixels; others are multiples of the stride away.
        seen: Pixels that a cell sees.
        stride: Pixels from one cell to the next.
        start: First pixel that cell 0 sees; negative in the padding.
        largest: Largest side.

    Returns:
        The smallest side with three shared cells, or two or one where ``largest`` forbids more; None where it
        forbids any.
    """
    first = max(-(start // stride), 0)
    for shared in range(_MOST_SHARED, 0, -1):
        needed = start + (first + shared) * stride + seen
        side = window + max(-(-(needed - window) // stride), 0) * stride
        if side <= largest:
            return side
    return None
