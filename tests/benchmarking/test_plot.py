"""The picture of a benchmark: nothing lies over anything else, whatever the names."""

from pathlib import Path
from typing import Any

import pytest

from edgecv.benchmarking.contender import Contender, Measured
from edgecv.benchmarking.plot import check_plot, draw_benchmark, figure_of
from edgecv.errors import OptionError, OutputError
from edgecv.timing import Timing


def measured(name: str, p50: float, *, threads: int = 1, **changes: Any) -> Measured:
    values: dict[str, Any] = {
        "contender": Contender(artifact=Path(name), device="cpu", threads=threads),
        "runtime": "onnxruntime",
        "provider": "CPUExecutionProvider",
        "precision": "float32",
        "bytes": 1,
        "batch": 1,
        "timing": Timing(runs=10, p50_ms=p50, p90_ms=1.3 * p50, low_ms=0.9 * p50, high_ms=1.4 * p50),
        "load_ms": 1.0,
        "first_ms": 2.0,
        "peak_rss_mb": 3.0,
        "throughput": (),
        "multiply_adds": 385_000_000,
        "peak_gflops": 45.0 * threads,
        "profile": None,
    }
    return Measured(**{**values, **changes})


SEVERAL = [
    measured("efficientnet_lite0.onnx", 12.7),
    measured("efficientnet_lite0.onnx", 7.4, threads=2),
    measured("a_very_long_name_of_a_detector_that_somebody_gave_$to$_his_best_export-int8.tflite", 9.1),
    measured("unknown.keras", 31.0, multiply_adds=None, runtime="keras"),
    measured("on_a_gpu.onnx", 1.2, peak_gflops=None),
]


@pytest.mark.parametrize("rows", [SEVERAL[:1], SEVERAL, SEVERAL * 4], ids=["one", "several", "many"])
def test_no_text_lies_over_another_or_outside(rows: list[Measured]) -> None:
    figure = figure_of(rows)
    figure.canvas.draw()
    texts = []
    for axes in figure.axes:
        legend, title = axes.get_legend(), getattr(axes, "_left_title")  # noqa: B009 (it has no public name)
        entries = legend.get_texts() if legend is not None else []
        labels = [*axes.texts, *axes.get_yticklabels(), axes.xaxis.label, title, *entries]
        texts += [label.get_window_extent() for label in labels if label.get_text() and label.get_visible()]
    width, height = figure.canvas.get_width_height()
    for number, box in enumerate(texts):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        assert not any(box.overlaps(other) for other in texts[number + 1 :])


def test_a_plot_replaces_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    path.write_bytes(b"old")
    draw_benchmark(SEVERAL, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in tmp_path.iterdir()] == ["plot.png"]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"^--plot must be a FILE.png, got '{tmp_path / 'a.svg'}'.$"):
        check_plot(tmp_path / "a.svg")
    (tmp_path / "folder.png").mkdir()
    message = f"^Cannot write '{tmp_path / 'folder.png'}': it is a folder. Name a file.$"
    with pytest.raises(OutputError, match=message):
        check_plot(tmp_path / "folder.png")
