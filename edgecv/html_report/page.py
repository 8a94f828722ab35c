"""What a report page shows, as data: `gather` makes it, `render` draws it.

Everything is as it will be read: rounded, sorted, in words. Nothing here is escaped; rendering does that.
"""

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Answer",
    "Bar",
    "BarGroup",
    "CheckRow",
    "Fact",
    "Finding",
    "Histogram",
    "LayerBar",
    "LayerErrors",
    "Picture",
    "ReportPage",
    "Section",
    "Shown",
    "Side",
    "Verdict",
]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How it ended.

    Attributes:
        state: What its colour and sign follow.
        word: The same in a word.
        sentence: Why, in a sentence.
    """

    state: Literal["passed", "failed", "unproven"]
    word: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A name and what stands for it; ``code`` is set in letters of one width."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar of a group.

    Attributes:
        label: What it stands for.
        length: Of the longest of its group, 0…1.
        text: The value with its unit.
        detail: More, such as the ratio to the first.
        reference: It is no artifact but what artifacts are held against.
    """

    label: str
    length: float
    text: str
    detail: str = ""
    reference: bool = False


@dataclass(frozen=True, kw_only=True)
class BarGroup:
    """Bars of one unit, and what they say."""

    title: str
    bars: tuple[Bar, ...]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """A check of the report: one output on one device at one batch size.

    Attributes:
        length: The relative difference on a logarithmic axis, 0…1.
        limit: The tolerance on the same axis; None where there is none.
    """

    output: str
    where: str
    batch: str
    relative: str
    tolerance: str
    cosine: str
    worst: str
    passed: bool
    problem: str
    length: float = 0.0
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many elements of an output differ by how much.

    Attributes:
        output: Name of the output.
        counts: Elements a bin; the bins are of equal width in the logarithm of the relative difference.
        first: Decimal logarithm of the first bin's lower end.
        bins_a_decade: Bins between a number and ten times it.
        equal: Elements that are the same on both sides to the last bit.
        total: All elements.
        pictures: The largest relative difference of each picture, with its name, worst first.
        tolerance: The largest that passes; None where elements are not judged.
        note: What it was measured on.
    """

    output: str
    counts: tuple[int, ...]
    first: int
    bins_a_decade: int
    equal: int
    total: int
    pictures: tuple[tuple[str, float], ...]
    tolerance: float | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as it stands in the page: a data: address, its size in pixels, and a text in its place."""

    address: str
    width: int
    height: int
    text: str
    small: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer for a picture.

    Attributes:
        label: The class, or the output.
        text: Its score or share.
        length: The same, 0…1.
        colour: The class's colour in the picture, as ``#rrggbb``; empty where it has none.
        alone: The other side has no counterpart of it.
    """

    label: str
    text: str
    length: float
    colour: str = ""
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one side answers for a picture.

    Attributes:
        title: Which side.
        picture: With the answers drawn on; None where they are words alone.
        answers: Best first.
        more: Answers that are left out.
        problem: Why there are none.
    """

    title: str
    picture: Picture | None = None
    answers: tuple[Answer, ...] = ()
    more: int = 0
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture with the answers of both sides.

    Attributes:
        name: Where it comes from.
        agrees: The answers mean the same; None where that is no question of yes and no.
        agreement: That in words.
        error: The largest relative difference of an element, in words; empty where none was measured.
        picture: As it went in, where the answers are not drawn on it.
        sides: The original's answers, the artifact's, and where they differ.
    """

    name: str
    agrees: bool | None
    agreement: str
    error: str
    picture: Picture | None
    sides: tuple[Side, ...]


@dataclass(frozen=True, kw_only=True)
class LayerBar:
    """A layer's error in the order of the network; ``length`` on a logarithmic axis, 0…1."""

    layer: str
    op: str
    text: str
    added: str
    length: float
    kept_float: bool = False
    suspect: bool = False


@dataclass(frozen=True, kw_only=True)
class LayerErrors:
    """The error after each layer, and where it comes from.

    Attributes:
        title: What was measured.
        caption: How to read it.
        layers: All, in the network's order.
        worst: Those that add most.
        low: The lower end of the axis, in words.
        high: The upper end.
    """

    title: str
    caption: str
    layers: tuple[LayerBar, ...]
    worst: tuple[LayerBar, ...]
    low: str
    high: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What somebody found out: the budget's outcome, or where an artifact diverges."""

    title: str
    sentence: str
    good: bool
    facts: tuple[Fact, ...] = ()
    items: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """All about one artifact.

    Attributes:
        anchor: Its place in the page.
        title: The artifact.
        verdict: How it ended.
        facts: What was compared, and on what.
        bars: Sizes and times of what it was made from.
        checks: Row by row.
        notes: What a reader should know.
        histograms: One an output.
        shown: Pictures, worst first.
        shown_note: Which pictures these are.
        findings: The budget's outcome, bisection's result.
        layers: The errors layer by layer, where measured.
    """

    anchor: str
    title: str
    verdict: Verdict
    facts: tuple[Fact, ...]
    bars: tuple[BarGroup, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    notes: tuple[str, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    shown: tuple[Shown, ...] = ()
    shown_note: str = ""
    findings: tuple[Finding, ...] = ()
    layers: LayerErrors | None = None


@dataclass(frozen=True, kw_only=True)
class ReportPage:
    """The whole page.

    Attributes:
        title: Of the page.
        verdict: How everything ended.
        facts: What the artifacts have in common: the original, the machine, the versions.
        bars: Sizes and times, all artifacts side by side.
        sections: One an artifact.
        command: What makes the page again.
        made: When and by what.
    """

    title: str
    verdict: Verdict
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    command: str
    made: str
    machine: tuple[Fact, ...] = ()
    bars: tuple[BarGroup, ...] = field(default=())
