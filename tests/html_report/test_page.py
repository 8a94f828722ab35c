"""Pages: what they say, that nothing is executed or loaded, and how large they are."""

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from edgecv.html_report import gather
from edgecv.html_report.gather import Circumstances, Proof, gather_page
from edgecv.html_report.page import ReportPage
from edgecv.html_report.render import render
from edgecv.html_report.shown import MOST_BYTES
from edgecv.report import Check, Report
from edgecv.runtime import Arrays

_KINDS = ("classification", "top_k", "detection", "segmentation", "localisation", "features")
_EVIL = "<script>alert(1)</script>"


class _Parsed(HTMLParser):
    """The elements of a page, its addresses, its texts, and whether all elements are closed."""

    _EMPTY = frozenset({"meta", "link", "img", "br", "rect", "line", "circle", "path"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.alternatives: list[str | None] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        known = dict(attrs)
        self.addresses += [known[key] or "" for key in ("src", "href", "xlink:href", "action") if key in known]
        if known.get("id"):
            self.ids.append(str(known["id"]))
        if tag == "img":
            self.alternatives.append(known.get("alt"))
        if tag not in self._EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._EMPTY:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data


def _page(proofs: list[Proof], circumstances: Circumstances) -> tuple[ReportPage, _Parsed, str]:
    page = gather_page(proofs, circumstances)
    html = render(page)
    return page, _Parsed(html), html


@pytest.mark.parametrize("kind", _KINDS)
def test_a_page_loads_nothing(make_proof: Callable[..., Proof], circumstances: Circumstances, kind: str) -> None:
    _, parsed, html = _page([make_proof(kind), make_proof(kind, form="tflite", off=1e-2)], circumstances)
    assert all(address.startswith(("data:", "#")) for address in parsed.addresses)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub(r'data:image/jpeg;base64,[^"]*', "", html))
    assert "script" not in parsed.elements
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]


@pytest.mark.parametrize("kind", _KINDS)
def test_pictures_have_texts_and_anchors_exist(
    make_proof: Callable[..., Proof], circumstances: Circumstances, kind: str
) -> None:
    page, parsed, _ = _page([make_proof(kind), make_proof(kind, form="tflite")], circumstances)
    assert parsed.alternatives
    assert all(parsed.alternatives)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {address[1:] for address in parsed.addresses if address.startswith("#")} <= set(parsed.ids)
    referenced = [value for name, value in parsed.attributes if name == "aria-labelledby"]
    assert {word for value in referenced for word in str(value).split()} <= set(parsed.ids)
    assert [heading for heading in parsed.elements if heading in ("h1", "h2")].count("h1") == 1
    assert all(len(section.shown) == 4 for section in page.sections)


@pytest.mark.parametrize("kind", ["classification", "detection", "segmentation"])
def test_labels_and_names_stay_text(make_proof: Callable[..., Proof], circumstances: Circumstances, kind: str) -> None:
    labels = [_EVIL, '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}"]
    proof = make_proof(kind, labels=labels, off=0.3)
    named = dataclasses.replace(proof, form=_EVIL, metadata={**proof.metadata, "model": _EVIL})
    named = dataclasses.replace(named, runs=(dataclasses.replace(proof.runs[0], names=(_EVIL,) * 4),))
    _, parsed, html = _page([named], dataclasses.replace(circumstances, command=["edgecv", _EVIL], original=_EVIL))
    assert "script" not in parsed.elements
    assert "<script" not in html
    assert not [value for name, value in parsed.attributes if name in ("onerror", "onload")]
    assert parsed.text.count(_EVIL) > 5
    if kind != "segmentation":
        assert "{{ 7 * 7 }}" in parsed.text


def test_the_verdict_stands_in_words(make_proof: Callable[..., Proof], circumstances: Circumstances) -> None:
    page, parsed, _ = _page([make_proof("features", off=1e-6)], circumstances)
    assert page.verdict.word == "Passed"
    assert re.match(
        r"^ONNX answers like the original\. The largest relative difference is \d\.\d × 10⁻⁶, "
        r"\d+ times less than allowed \(10⁻⁴\)\.$",
        page.verdict.sentence,
    )
    assert page.verdict.sentence in parsed.text


def test_one_failing_format_of_two_fails_the_page(
    make_proof: Callable[..., Proof], circumstances: Circumstances
) -> None:
    page, _, _ = _page([make_proof(off=1e-6), make_proof(off=0.1, form="tflite")], circumstances)
    assert (page.verdict.state, page.verdict.sentence) == (
        "failed",
        "TFLite does not answer as demanded; the other one does.",
    )
    assert [section.verdict.state for section in page.sections] == ["passed", "failed"]
    assert page.sections[1].verdict.sentence.startswith(
        "TFLite does not answer like the original: relative difference "
    )


def test_what_was_not_verified_is_said(make_proof: Callable[..., Proof], circumstances: Circumstances) -> None:
    page, parsed, _ = _page([make_proof(report=None, runs=())], circumstances)
    assert page.verdict.state == "unproven"
    assert "ONNX was written without being compared." in parsed.text
    assert [fact.value for fact in page.facts if fact.name == "Compared with"] == ["nothing"]


def test_a_report_without_any_run_is_a_page(make_proof: Callable[..., Proof], circumstances: Circumstances) -> None:
    infinite = float("inf")
    check = Check(
        runtime="abacus",
        device="none",
        provider="none",
        images=0,
        batch=0,
        output="digest",
        max_abs_diff=infinite,
        relative_diff=infinite,
        cosine=0.0,
        tolerance=0.0,
        worst="no picture",
        problem="the file is damaged",
    )
    page, parsed, _ = _page([make_proof(report=Report(checks=(check,)), runs=())], circumstances)
    assert page.verdict.sentence == "ONNX does not answer like the original: the file is damaged."
    assert "inf" not in parsed.text.replace("information", "")


def test_the_worst_picture_comes_first_and_noise_last(
    make_proof: Callable[..., Proof], circumstances: Circumstances
) -> None:
    def other_class(given: Arrays) -> Arrays:
        probabilities = given["probabilities"].copy()
        probabilities[1] = np.roll(probabilities[1], 1)
        return {"probabilities": probabilities}

    page, _, _ = _page([make_proof(change=other_class)], circumstances)
    first, *_, last = page.sections[0].shown
    assert (first.name, first.agrees) == ("photo:rocket", False)
    assert re.match(r"^best class \w+ instead of \w+$", first.agreement)
    assert last.name == "noise:0"


def test_boxes_without_a_counterpart_are_marked(make_proof: Callable[..., Proof], circumstances: Circumstances) -> None:
    def one_less(given: Arrays) -> Arrays:
        count = given["count"].copy()
        count[2] = 1
        return {**given, "count": count}

    page, parsed, _ = _page([make_proof("detection", change=one_less)], circumstances)
    worst = page.sections[0].shown[0]
    assert (worst.name, worst.agreement) == ("photo:<b>&\"'", "1 of 3 boxes are on one side only")
    original, artifact = worst.sides
    assert [answer.alone for answer in original.answers] == [False, True]
    assert [answer.alone for answer in artifact.answers] == [False]
    assert "(only here)" in parsed.text


def test_differing_pixels_are_a_picture_of_their_own(
    make_proof: Callable[..., Proof], circumstances: Circumstances
) -> None:
    def some_pixels(given: Arrays) -> Arrays:
        mask = given["mask"].copy()
        mask[0, :12] = (mask[0, :12] + 1) % 3
        return {**given, "mask": mask}

    page, _, _ = _page([make_proof("segmentation", change=some_pixels)], circumstances)
    shown = {each.name: each for each in page.sections[0].shown}
    cat = shown["photo:cat"]
    assert cat.agreement == "384 of 768 pixels have another class (50.00%)"
    assert [side.title for side in cat.sides] == ["Original", "Artifact", "Difference"]
    assert [side.title for side in shown["photo:rocket"].sides] == ["Original", "Artifact"]


def test_answers_that_are_no_numbers_are_said_to_be_none(
    make_proof: Callable[..., Proof], circumstances: Circumstances
) -> None:
    broken = make_proof(change=lambda given: {name: values * np.nan for name, values in given.items()})
    page, parsed, _ = _page([broken], circumstances)
    assert "The answer is NaN or infinite." in parsed.text
    assert page.sections[0].shown[0].agreement == "the artifact gives no answer"


def test_recorded_answers_that_were_sampled_are_not_shown_as_whole(
    make_proof: Callable[..., Proof], circumstances: Circumstances
) -> None:
    proof = make_proof("segmentation")
    run = proof.runs[0]
    sampled = {name: values.reshape(4, -1)[:, ::5] for name, values in run.answers.items()}
    run = dataclasses.replace(run, answers=sampled, steps=dict.fromkeys(sampled, 5))
    page, _, _ = _page([dataclasses.replace(proof, runs=(run,))], circumstances)
    original, artifact = page.sections[0].shown[0].sides
    assert original.picture is None
    assert original.problem.startswith("The artifact carries a part of the original's answer only")
    assert artifact.picture is not None
    assert page.sections[0].histograms[0].total == 4 * len(range(0, 24 * 32 * 3, 5))


def test_pictures_are_as_many_as_a_page_may_weigh(
    make_proof: Callable[..., Proof], circumstances: Circumstances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "MOST_BYTES", 100_000)
    proof = make_proof()
    # Nothing is larger in a JPEG file than noise.
    noise = np.random.default_rng(1).integers(0, 256, (4, 600, 500, 3), dtype=np.uint8)
    run = dataclasses.replace(proof.runs[0], pictures=noise)
    page, _, html = _page([dataclasses.replace(proof, runs=(run,))], circumstances)
    (section,) = page.sections
    assert len(html) < 100_000 * 4 / 3 + 50_000
    assert 1 <= len(section.shown) < 4
    assert section.shown_note == f"The {len(section.shown)} worst of 4 pictures, worst first."
    # Three quarters of 2 MB of text, less what is no picture.
    assert MOST_BYTES * 4 / 3 + 300_000 < 2_000_000


def test_grey_pictures_and_small_ones_are_shown(make_proof: Callable[..., Proof], circumstances: Circumstances) -> None:
    proof = make_proof()
    run = dataclasses.replace(proof.runs[0], pictures=proof.runs[0].pictures[:, :8, :8, :1])
    page, _, _ = _page([dataclasses.replace(proof, runs=(run,))], circumstances)
    picture = page.sections[0].shown[0].picture
    assert picture is not None
    assert (picture.width, picture.height, picture.small) == (320, 320, True)


def test_the_command_can_be_pasted_into_a_shell(make_proof: Callable[..., Proof], circumstances: Circumstances) -> None:
    page, parsed, _ = _page([make_proof()], circumstances)
    assert page.command == "edgecv verify 'a b.onnx'"
    assert page.command in parsed.text
    assert page.made.startswith("2026-11-28 12:00 UTC, edgecv ")


def test_size_and_time_stand_beside_the_original(
    make_proof: Callable[..., Proof], circumstances: Circumstances
) -> None:
    from edgecv.timing import Timing

    def timed(median: float) -> Any:
        return Timing(runs=20, p50_ms=median, p90_ms=median, low_ms=median, high_ms=median)

    proofs = [
        make_proof(nbytes=500_000, timing=timed(10.0)),
        make_proof(form="tflite", nbytes=250_000, timing=timed(5.0)),
    ]
    page, _, _ = _page(proofs, dataclasses.replace(circumstances, original_bytes=1_000_000))
    size, time = page.bars
    assert [(bar.label, bar.length, bar.text, bar.detail) for bar in size.bars] == [
        ("Weights in float32", 1.0, "1.00 MB", ""),
        ("ONNX", 0.5, "0.50 MB", "0.50 ×"),
        ("TFLite", 0.25, "0.25 MB", "0.25 ×"),
    ]
    assert [(bar.label, bar.length, bar.text) for bar in time.bars] == [
        ("ONNX", 1.0, "10.00 ms"),
        ("TFLite", 0.5, "5.00 ms"),
    ]
    assert time.caption == "Median of 40 runs, in turn, on the cpu; the picture is decoded already."
