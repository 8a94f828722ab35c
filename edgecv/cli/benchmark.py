"""``edgecv benchmark``: how long artifacts take, timed in turn, and where the time goes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecv.cli.common import emit_json, json_option, status, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from edgecv.benchmarking.contender import Measured
    from edgecv.benchmarking.profile import Profile

__all__ = ["benchmark"]

_PIPE_WIDTH = 200  # letters, where there is no terminal
_THREADS = "Threads of the engine, once for each number to try; the default is one for each core."
_DEVICES = "Where to run: cpu or cuda, once for each to try."
_SECONDS = "About how long to time in all; it ends before where every median is known within 2 %."


@click.command()
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@click.option("--threads", type=click.IntRange(min=1), multiple=True, help=_THREADS)
@click.option("--device", "devices", multiple=True, default=("cpu",), show_default="cpu", help=_DEVICES)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=20.0, show_default=True, help=_SECONDS)
@click.option("--profile", is_flag=True, help="Say where the time goes, by operator, node and Keras layer.")
@click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path), help="Draw latencies and GFLOP/s.")
@click.option("--image", metavar="PICTURE", help="What to run on; the default is a photo that ships with edgecv.")
@click.option("--import", "imports", metavar="MODULE", multiple=True, help="Import custom layers of a .keras file.")
@click.option("--no-check", is_flag=True, help="Measure an artifact whose digest disagrees, too.")
def benchmark(
    artifacts: tuple[Path, ...],
    as_json: bool,
    threads: tuple[int, ...],
    devices: tuple[str, ...],
    seconds: float,
    profile: bool,
    plot: Path | None,
    image: str | None,
    imports: tuple[str, ...],
    no_check: bool,
) -> None:
    """Time each ARTIFACT (a .keras file, too) with each number of threads on each device, all in turn.

    Each runs in a process of its own, on a real picture, without what surrounds it: reading and fitting the picture.
    """
    from edgecv.benchmarking.plot import check_plot, draw_benchmark
    from edgecv.benchmarking.running import Settings
    from edgecv.benchmarking.running import benchmark as run

    if plot is not None:
        check_plot(plot)
    settings = Settings(
        threads=threads,
        devices=devices,
        seconds=seconds,
        profile=profile,
        check=not no_check,
        image=image,
        imports=imports,
    )
    with status("opening") as say_now:
        measured = run(artifacts, settings, progress=say_now, warn=warn)
    if plot is not None:
        draw_benchmark(measured, plot)
    if as_json:
        emit_json([each.to_json() for each in measured])
    else:
        _print(measured)


def _print(measured: "Sequence[Measured]") -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
    _print_table(console, measured)
    for each in measured:
        if each.profile is not None:
            console.print()
            _print_profile(console, each, each.profile)


def _print_table(console: "Console", measured: "Sequence[Measured]") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("artifact", overflow="fold", min_width=10)
    for name in (
        "p50\nms",
        "±\n%",
        "p90\nms",
        "load\nms",
        "first\nms",
        "peak\nMB",
        "file\nMB",
        "pictures\na second",
        "GFLOP/s",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for each in measured:
        timing = each.timing
        table.add_row(
            Text(f"{each.contender.artifact}\n  {_where(each)}"),
            f"{timing.p50_ms:.2f}",
            f"{100 * timing.interval:.1f}{'' if timing.converged else '?'}",
            f"{timing.p90_ms:.2f}",
            f"{each.load_ms:.0f}",
            f"{each.first_ms:.0f}",
            f"{each.peak_rss_mb:.0f}",
            f"{each.bytes / 1e6:.1f}",
            f"{each.throughput[0].pictures_per_second:.1f}",
            _reached(each),
        )
    console.print(table)
    for line in _notes(measured):
        console.print(line)


def _where(each: "Measured") -> str:
    threads = each.contender.threads
    device = "" if each.contender.device == "cpu" else f" on {each.contender.device}"
    return f"{each.runtime}{device}, {threads} thread{'' if threads == 1 else 's'}"


def _reached(each: "Measured") -> str:
    if each.gflops is None:
        return ""
    return f"{each.gflops:.1f}" + (f" ({each.share_of_peak:.0%})" if each.share_of_peak is not None else "")


def _notes(measured: "Sequence[Measured]") -> list[str]:
    """Say what a reader of the table has to know."""
    peaks = {each.contender.threads: each.peak_gflops for each in measured if each.peak_gflops is not None}
    notes = [
        f"{each.contender.name}, pictures/s by batch: "
        + ", ".join(f"{rate.pictures_per_second:.1f} at {rate.batch}" for rate in each.throughput)
        for each in measured
        if len(each.throughput) > 1
    ]
    if peaks:
        each_peak = ", ".join(f"{peak:.0f} with {count}" for count, peak in peaks.items())
        notes.append(f"In brackets: share of a float32 matrix product's GFLOP/s here, by threads: {each_peak}.")
    if any(each.precision == "int8" for each in measured):
        notes.append(
            "int8 files are held against the float32 product, too: their operations are no floating-point ones."
        )
    if any(not each.timing.converged for each in measured):
        notes.append("?: the median is not known within 2 %.")
    return notes


def _print_profile(console: "Console", each: "Measured", profile: "Profile") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shares = ", ".join(f"{name} {share:.1%}" for name, share in profile.operators.items() if share >= 0.005)
    console.print(f"{each.contender.name}: {shares}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("share", "ms"):
        table.add_column(name, justify="right")
    for name in ("op", "Keras layers", "node"):
        table.add_column(name, overflow="fold")
    for node in profile.top:
        layers = Text(", ".join(node.layers) or "(none)")
        table.add_row(f"{node.share:.1%}", f"{node.milliseconds:.3f}", node.op, layers, Text(node.name))
    console.print(table)
