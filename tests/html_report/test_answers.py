"""Labels as a report shows them."""

from edgecv.html_report.answers import named
from edgecv.printable import short


def test_a_label_is_cut_to_a_line() -> None:
    assert short("x" * 1_000_000) == "x" * 79 + "…"
    assert short("y" * 80) == "y" * 80


def test_control_characters_do_not_reach_the_page() -> None:
    assert named({"label": "a\x07b\x1b[31m", "class": 3}) == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m"


def test_letters_of_other_scripts_stay() -> None:
    assert named({"label": "漢字 <b>", "class": 0}) == "漢字 <b>"
