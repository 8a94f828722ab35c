"""What int8 costs, where an artifact diverges, and the errors after each layer, on a page."""

import dataclasses
import math
from collections.abc import Callable

from edgecv.bisect import Bisection
from edgecv.html_report.findings import bisection_finding, budget_finding, gather_layers
from edgecv.html_report.gather import Circumstances, Proof, gather_page
from edgecv.html_report.render import render
from edgecv.layer_errors import LayerError
from edgecv.quantization import FloatLayer, Quantization, Speeds

_COST = Quantization(
    calibration_pictures=120,
    calibration_sha256="ab" * 32,
    metric="top1",
    original=0.9,
    value=0.75,
    max_drop=0.1,
    met=False,
    judged_on="held-out pictures",
    pictures=30,
    requantisations=2,
    float_layers=(FloatLayer(layer="stem", error=0.25),),
    speeds=Speeds(
        sizes={"float32": 4_000_000, "all_int8": 1_000_000, "written": 1_200_000},
        p50_ms={"float32": 4.0, "all_int8": 5.0, "written": 6.0},
        slower_than_float=True,
    ),
)


def _errors() -> list[LayerError]:
    values = {"stem": (0.0, 0.01), "body": (0.01, 0.2), "odd": (0.2, 0.15), "head": (0.15, math.inf)}
    return [
        LayerError(
            layer=name, group=(name, f"{name}_bn"), op="Conv2D", tensor=f"{name}:0", before=a, after=b, largest=b
        )
        for name, (a, b) in values.items()
    ]


def test_a_missed_budget_fails_the_page_and_says_by_how_much(
    make_proof: Callable[..., Proof], circumstances: Circumstances
) -> None:
    proof = make_proof(precision="int8", quantization=_COST, speeds=_COST.speeds, nbytes=1_200_000)
    page = gather_page([proof], circumstances)
    assert (page.verdict.state, page.verdict.word) == ("failed", "Budget missed")
    assert page.verdict.sentence == (
        "ONNX int8 was written, but top1 drops by 0.15, above max-drop 0.1, the best of 3 tries."
    )
    (finding,) = page.sections[0].findings
    assert finding.title == "The accuracy budget was missed"
    assert finding.sentence == "top1 drops by 0.1500: 0.7500 of 0.9000, at most 0.1 is allowed."
    assert finding.items == ("stem: loses 25.00% of what varies in it",)
    assert "loses 25.00% of what varies in it" in render(page)
    assert [fact.value for fact in finding.facts if fact.name == "Made again"] == [
        "2 times, with other layers in float32"
    ]


def test_a_kept_budget_and_none_at_all_are_said() -> None:
    kept = budget_finding(dataclasses.replace(_COST, met=True, value=0.9))
    assert (kept.good, kept.title) == (True, "The accuracy budget was kept")
    assert kept.sentence == "top1 does not drop: 0.9000 of 0.9000, at most 0.1 is allowed."
    again = budget_finding(dataclasses.replace(_COST, requantisations=1)).facts
    assert "once, with other layers in float32" in [fact.value for fact in again]
    nothing = budget_finding(Quantization(calibration_pictures=5, calibration_sha256="ab"))
    assert (nothing.good, nothing.title) == (True, "What int8 costs")
    assert nothing.sentence.startswith("There was nothing to judge the task by")


def test_int8_stands_beside_float(make_proof: Callable[..., Proof], circumstances: Circumstances) -> None:
    proof = make_proof(precision="int8", quantization=_COST, speeds=_COST.speeds)
    size, time = gather_page([proof], circumstances).sections[0].bars
    assert [(bar.label, bar.text, bar.detail, bar.reference) for bar in size.bars] == [
        ("float32", "4.00 MB", "", True),
        ("all in int8", "1.00 MB", "0.25 ×", False),
        ("written", "1.20 MB", "0.30 ×", False),
    ]
    assert [bar.length for bar in time.bars] == [4 / 6, 5 / 6, 1.0]
    assert time.caption.endswith("This file is slower than float32 on this machine.")


def test_elements_of_int8_have_no_tolerance_of_their_own(
    make_proof: Callable[..., Proof], circumstances: Circumstances
) -> None:
    (section,) = gather_page([make_proof(precision="int8")], circumstances).sections
    assert [each.tolerance for each in section.histograms] == [None]


def test_layers_stand_in_the_networks_order_and_those_that_add_most_below() -> None:
    layers = gather_layers(_errors(), kept_float=["stem_bn"])
    assert layers is not None
    assert [each.layer for each in layers.layers] == ["stem", "body", "odd", "head"]
    assert [each.layer for each in layers.worst] == ["head", "body", "stem", "odd"]
    assert [each.kept_float for each in layers.layers] == [True, False, False, False]
    assert [each.text for each in layers.layers] == ["0.01", "0.2", "0.15", "not a number"]
    assert [each.added for each in layers.layers] == ["+0.01 here", "+0.19 here", "", ""]
    assert (layers.low, layers.high) == ("10⁻²", "1")
    assert layers.layers[1].length == (math.log10(0.2) + 2) / 2
    assert layers.layers[3].length == 1.0
    assert gather_layers([]) is None


def test_the_layer_at_fault_is_marked(make_proof: Callable[..., Proof], circumstances: Circumstances) -> None:
    errors = _errors()
    found = Bisection(
        verdict="layer",
        text="It answers differently from layer 'body' on: error 2.0e-01.",
        layers=tuple(errors),
        limits={},
        wrong=frozenset({"body:0"}),
        found=errors[1],
        worst="photo:cat",
    )
    finding = bisection_finding(found)
    assert (finding.title, finding.good) == ("Diverges after a layer", False)
    assert finding.sentence == "It answers differently from layer 'body' on: error 0.2."
    assert [(fact.name, fact.value) for fact in finding.facts] == [
        ("Layer", "body (Conv2D)"),
        ("Error", "0.01 before, 0.2 after it"),
        ("Tensor in the artifact", "body:0"),
        ("Layers in this tensor", "body, body_bn"),
        ("Most on", "photo:cat"),
    ]
    page = gather_page([make_proof(off=0.1, bisection=found, layers=errors)], circumstances)
    layers = page.sections[0].layers
    assert layers is not None
    assert [each.suspect for each in layers.layers] == [False, True, False, False]
    assert "diverges here" in render(page)
    grown = dataclasses.replace(found, verdict="growth")
    page = gather_page([make_proof(off=0.1, bisection=grown, layers=errors)], circumstances)
    assert "diverges" not in render(page)  # where to look, but no proof of a fault
