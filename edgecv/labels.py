"""Names of classes: one a line, in the order of the network's outputs."""

from importlib import resources
from pathlib import Path

from edgecv.errors import OptionError

__all__ = ["builtin_labels", "read_labels"]

# Files of edgecv/data; their origins stand beside them.
_BUILTIN = ("coco", "digits", "everyday", "imagenet", "selfie", "voc")


def read_labels(path: Path, expected: int | None = None) -> tuple[str, ...]:
    """Read a label file: UTF-8, one label a line, blank lines at the end ignored.

    Args:
        path: The file.
        expected: The number of classes that the network has; None takes any number.

    Raises:
        OptionError: The file cannot be read, is not text, or has another number of labels.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte order mark
    except OSError as error:
        raise OptionError(f"Cannot read labels {str(path)!r}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise OptionError(
            f"Labels {str(path)!r} are not UTF-8 text. Give a text file with one label a line."
        ) from error
    labels = _split(text)
    if not labels:
        raise OptionError(f"Labels {str(path)!r} are empty. Give a text file with one label a line.")
    if expected is not None and len(labels) != expected:
        raise OptionError(
            f"Labels {str(path)!r} have {len(labels)} lines, the network has {expected} classes. "
            "Give one label a line, one for every class."
        )
    return labels


def builtin_labels(name: str) -> tuple[str, ...]:
    """Return a label list that ships with edgecv, without the background but for masks, where it is class 0.

    Args:
        name: ``imagenet`` (1000 names), ``coco`` (80), ``digits`` (10), ``everyday`` (the 23 of
            ``ssd_mobilenet_v2``); of masks ``selfie`` (2) or ``voc`` (21).

    Raises:
        OptionError: There is no such list.
    """
    if name not in _BUILTIN:
        raise OptionError(f"No built-in labels {name!r}. Known: {', '.join(_BUILTIN)}.")
    file = resources.files("edgecv") / "data" / f"{name}.txt"
    return _split(file.read_text(encoding="utf-8"))


def _split(text: str) -> tuple[str, ...]:
    # Not splitlines(): it would also split at characters that may stand in a label, such as U+2028.
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)
