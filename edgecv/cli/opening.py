"""Labels of data as commands read them: each broken one is named on a line of its own."""

from typing import TYPE_CHECKING

from edgecv.cli.common import say

if TYPE_CHECKING:
    from edgecv.data.samples import Dataset

__all__ = ["opened"]


def opened(path: str, format_: str | None, skip_broken: bool) -> "Dataset":
    """Read the labels of a data set; see `edgecv.data.reading.open_data`, whose errors it lets through."""
    from edgecv.data.problems import BrokenDataError
    from edgecv.data.reading import open_data

    try:
        return open_data(path, format=format_, skip_broken=skip_broken)
    except BrokenDataError as error:
        for problem in error.problems:
            say(str(problem))
        raise
