"""The noun Quantization: what an int8 export measured, as it stands in ``export --json`` and in the metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FloatLayer", "Quantization", "Speeds"]


@dataclass(frozen=True, kw_only=True)
class FloatLayer:
    """A layer that was given back to float.

    Attributes:
        layer: Its path.
        error: Share of what varies in it, channel by channel, that it loses of its own in int8.
    """

    layer: str
    error: float

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``export --json``."""
        return {"layer": self.layer, "error": _rounded(self.error)}


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Sizes and times of artifacts of one original.

    Attributes:
        sizes: Bytes of the converted files, before metadata are put in: of ``float32`` where that can be made, of
            ``all_int8`` (before any layer was given back) and of what was ``written``.
        p50_ms: Their medians in milliseconds, a run, on this machine.
        slower_than_float: Whether ``written`` is slower than ``float32`` by more than the medians are uncertain.
    """

    sizes: Mapping[str, int]
    p50_ms: Mapping[str, float]
    slower_than_float: bool

    def warning(self, precision: str) -> str | None:
        """Say where the smaller file is the slower one."""
        if not self.slower_than_float:
            return None
        share = self.sizes["written"] / self.sizes["float32"]
        return (
            f"{precision} is slower than float32 on this machine: {self.p50_ms['written']:.2f} ms against "
            f"{self.p50_ms['float32']:.2f} ms a run. Its file has {share:.2f} of the size."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``export --json``."""
        return {
            "bytes": dict(self.sizes),
            "p50_ms": {label: round(value, 4) for label, value in self.p50_ms.items()},
            "slower_than_float": self.slower_than_float,
        }


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How an artifact was quantised, and what that cost.

    Attributes:
        calibration_pictures: How many pictures calibrated, beside a black and a white one.
        calibration_sha256: Of their contents.
        metric: What was judged by, such as ``"top1"``; None where there was nothing to judge on.
        original: The float original's value.
        value: The artifact's.
        max_drop: The budget; None where the drop was only measured.
        met: Whether it was kept; None where there was none.
        judged_on: What the pictures are.
        pictures: How many they are.
        requantisations: How often the artifact was made again with more or fewer float layers.
        float_layers: The layers that were given back, those first that lose most.
        speeds: Sizes and times; None where nothing could be run.
        notes: What the user should know.
    """

    calibration_pictures: int
    calibration_sha256: str
    metric: str | None = None
    original: float | None = None
    value: float | None = None
    max_drop: float | None = None
    met: bool | None = None
    judged_on: str | None = None
    pictures: int = 0
    requantisations: int = 0
    float_layers: tuple[FloatLayer, ...] = ()
    speeds: Speeds | None = None
    notes: tuple[str, ...] = ()

    @property
    def drop(self) -> float | None:
        """By how much the metric drops."""
        return None if self.original is None or self.value is None else self.original - self.value

    def recorded(self) -> dict[str, Any]:
        """Return what the metadata say: no times, which differ from run to run."""
        return {
            "calibration": {"pictures": self.calibration_pictures, "sha256": self.calibration_sha256},
            "metric": self.metric,
            "float": _rounded(self.original),
            "int8": _rounded(self.value),
            "drop": _rounded(self.drop),
            "max_drop": self.max_drop,
            "met": self.met,
            "judged_on": self.judged_on,
            "pictures": self.pictures,
            "requantisations": self.requantisations,
            "float_layers": [each.to_json() for each in self.float_layers],
        }

    def to_json(self) -> dict[str, Any]:
        """Return the form of ``export --json``."""
        speeds = self.speeds.to_json() if self.speeds else {"bytes": None, "p50_ms": None, "slower_than_float": None}
        return {**self.recorded(), **speeds, "notes": list(self.notes)}

    def missed(self) -> str:
        """Say, without a full stop, that the budget was missed."""
        tried = f"the best of {self.requantisations + 1} tries" if self.requantisations else "with all layers in int8"
        return f"{self.metric} drops by {self.drop or 0.0:.4g}, above max-drop {self.max_drop:g}, {tried}"

    def summary(self) -> list[str]:
        """Say in a few lines how it went."""
        lines = []
        if self.metric is not None and self.original is not None and self.value is not None:
            budget = (
                ""
                if self.max_drop is None
                else f", {'within' if self.met else 'ABOVE'} the budget of {self.max_drop:g}"
            )
            lines.append(
                f"{self.metric} {self.value:.4g} of {self.original:.4g} on {self.pictures} pictures: "
                f"a drop of {max(0.0, self.drop or 0.0):.4g}{budget}"
            )
        if self.float_layers:
            layers = ", ".join(f"{each.layer} ({each.error:.2%} lost)" for each in self.float_layers[:5])
            more = f" and {len(self.float_layers) - 5} more" if len(self.float_layers) > 5 else ""
            lines.append(
                f"back to float32, by what int8 loses there: {layers}{more}; {self.requantisations} requantisations"
            )
        if self.speeds is not None:
            lines.append(_compared(self.speeds, given_back=bool(self.float_layers)))
        return lines


def _compared(speeds: Speeds, *, given_back: bool) -> str:
    labels = {"written": "written", **({"all_int8": "all int8"} if given_back else {}), "float32": "float32"}
    return "; ".join(
        f"{words} {speeds.sizes[label] / 1e6:.2f} MB, {speeds.p50_ms[label]:.2f} ms"
        for label, words in labels.items()
        if label in speeds.sizes
    )


def _rounded(value: float | None) -> float | None:
    """Five digits, so that the same machine writes the same bytes; JSON knows no infinity."""
    return None if value is None or value in (float("inf"), float("-inf")) else float(f"{value:.5g}")
