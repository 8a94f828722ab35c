"""What quantisation cost, where an artifact diverges, and the errors layer by layer, as a page shows them."""

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from edgecv.html_report.charts import decade, number, on_decades, readable
from edgecv.html_report.page import Fact, Finding, LayerBar, LayerErrors

if TYPE_CHECKING:
    from edgecv.bisect import Bisection
    from edgecv.layer_errors import LayerError
    from edgecv.quantization import Quantization

__all__ = ["bisection_finding", "budget_finding", "gather_layers"]

_MOST_LISTED = 10
_FEWEST_DECADES = 2
_WHERE = {
    "same": "The same after every layer",
    "layer": "Diverges after a layer",
    "scaling": "Diverges in front of the network",
    "head": "Diverges behind the network",
    "growth": "Where the error grows most",
}


def budget_finding(quantization: "Quantization") -> Finding:
    """Return what int8 cost, and whether the budget was kept."""
    facts = [
        Fact(
            name="Calibrated on",
            value=f"{quantization.calibration_pictures} pictures, a black and a white one beside them",
        ),
        Fact(name="sha256 of the pictures", value=quantization.calibration_sha256, code=True),
    ]
    if quantization.judged_on is not None:
        facts.append(Fact(name="Judged on", value=f"{quantization.pictures} pictures, {quantization.judged_on}"))
    if quantization.requantisations:
        times = "once" if quantization.requantisations == 1 else f"{quantization.requantisations} times"
        facts.append(Fact(name="Made again", value=f"{times}, with other layers in float32"))
    layers = tuple(f"{each.layer}: loses {each.error:.2%} of what varies in it" for each in quantization.float_layers)
    if layers:
        facts.append(Fact(name="Layers back in float32", value=str(len(layers))))
    return Finding(
        title=_budget_title(quantization),
        sentence=_drop(quantization),
        good=quantization.met is not False,
        facts=tuple(facts),
        items=layers,
    )


def _budget_title(quantization: "Quantization") -> str:
    if quantization.met is None:
        return "What int8 costs"
    return "The accuracy budget was kept" if quantization.met else "The accuracy budget was missed"


def _drop(quantization: "Quantization") -> str:
    drop = quantization.drop
    if quantization.metric is None or drop is None:
        return "There was nothing to judge the task by: the answers were compared with the original's alone."
    most = f", at most {quantization.max_drop:g} is allowed" if quantization.max_drop is not None else ""
    how = f"drops by {drop:.4f}" if drop > 0 else "does not drop"
    return f"{quantization.metric} {how}: {quantization.value:.4f} of {quantization.original:.4f}{most}."


def bisection_finding(bisection: "Bisection") -> Finding:
    """Return where an artifact begins to answer differently."""
    found, facts = bisection.found, []
    if found is not None:
        facts += [
            Fact(name="Layer", value=f"{found.layer} ({found.op})", code=True),
            Fact(name="Error", value=f"{number(found.before)} before, {number(found.after)} after it"),
            Fact(name="Tensor in the artifact", value=found.tensor, code=True),
        ]
        if len(found.group) > 1:
            facts.append(Fact(name="Layers in this tensor", value=", ".join(found.group), code=True))
    if bisection.worst:
        facts.append(Fact(name="Most on", value=bisection.worst))
    if bisection.saved is not None:
        facts.append(Fact(name="Values of both sides", value=str(bisection.saved), code=True))
    return Finding(
        title=_WHERE[bisection.verdict],
        sentence=readable(bisection.text),
        good=bisection.verdict in ("same", "growth"),
        facts=tuple(facts),
    )


def gather_layers(
    errors: "Sequence[LayerError]", *, kept_float: Collection[str] = (), found: "LayerError | None" = None
) -> LayerErrors | None:
    """Return the errors layer by layer; None where there are none to show.

    Args:
        errors: In the network's order.
        kept_float: Paths of the layers that stayed in float32.
        found: The layer that is at fault.
    """
    known = [error.after for error in errors if math.isfinite(error.after) and error.after > 0]
    if not known:
        return None
    low, high = _decades(known)
    bars = {error.tensor: _bar(error, low, high, kept_float, found) for error in errors}
    growing = sorted(errors, key=_growth, reverse=True)[:_MOST_LISTED]
    kept = " Green ones stayed in float32." if any(bar.kept_float for bar in bars.values()) else ""
    suspect = " The red one is where it diverges." if found is not None else ""
    return LayerErrors(
        title="Error after each layer",
        caption=(
            "How far each layer's output is from the original's (rms of the difference over rms of the values), in the "
            f"network's order, on a logarithmic axis.{kept}{suspect} Below: the layers in which the error grows most."
        ),
        layers=tuple(bars.values()),
        worst=tuple(bars[error.tensor] for error in growing),
        low=decade(low),
        high=decade(high),
    )


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return min(low, high - _FEWEST_DECADES), high


def _growth(error: "LayerError") -> float:
    return error.after - error.before if math.isfinite(error.after) else math.inf


def _bar(error: "LayerError", low: int, high: int, kept_float: Collection[str], found: "LayerError | None") -> LayerBar:
    growth = _growth(error)
    return LayerBar(
        layer=error.layer,
        op=error.op,
        text=number(error.after) if math.isfinite(error.after) else "not a number",
        added=f"+{number(growth)} here" if 0 < growth < math.inf else "",
        length=on_decades(error.after, low, high),
        kept_float=any(layer in kept_float for layer in error.group),
        suspect=found is not None and error.tensor == found.tensor,
    )
