"""From a page's data to HTML: one file that loads nothing."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from edgecv.html_report.charts import histogram_chart, number
from edgecv.html_report.page import ReportPage

if TYPE_CHECKING:
    import jinja2

__all__ = ["render"]

_TEMPLATES = Path(__file__).parent / "templates"
# Pictures of an artifact that are seen at once; more are folded.
_UNFOLDED = 4


def render(page: ReportPage) -> str:
    """Return the page as HTML. Labels, names and messages are escaped wherever they stand."""
    return _environment().get_template("page.html.j2").render(page=page, unfolded=_UNFOLDED)


@functools.cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"chart": histogram_chart, "number": number}
    return environment
