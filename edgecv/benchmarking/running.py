"""The verb of a benchmark: contenders are opened, each in its process, timed in turn, and what they say is gathered."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv import machine, metadata
from edgecv.benchmarking.contender import Contender, Measured, Throughput
from edgecv.benchmarking.peak import measure_peaks
from edgecv.benchmarking.process import Process
from edgecv.benchmarking.profile import Profile, make_profile
from edgecv.errors import ArtifactError, DeviceError, EdgecvError, OptionError
from edgecv.runtime import NodeTime, Runtime
from edgecv.runtimes.container import size_of
from edgecv.runtimes.folder import is_artifact_folder
from edgecv.session import known_suffixes, runtime_of
from edgecv.timing import Timing, measure_in_turn

__all__ = ["PRECISION", "Settings", "benchmark"]

PRECISION = 0.02
_BATCHES = (1, 2, 4, 8)
_BATCH_SHARE = 0.25  # of the time, where there are batches to time
_PROFILE_SECONDS = 2.0
_KERAS = (".keras", ".h5")

Progress = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        threads: Numbers of threads; the default is one: as many as there are cores.
        devices: Devices.
        seconds: About how long to time in all.
        profile: Ask the engines where the time goes.
        check: Refuse artifacts whose digest disagrees.
        image: A picture to run on; the default is a photo that ships with edgecv.
        imports: Modules to import before a Keras network is opened.
    """

    threads: tuple[int, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    seconds: float = 20.0
    profile: bool = False
    check: bool = True
    image: str | None = None
    imports: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.threads):
            raise OptionError(f"threads must be at least 1, got {min(self.threads)}.")
        if not 0 < self.seconds < float("inf"):
            raise OptionError(f"seconds must be above 0, got {self.seconds}.")


@dataclass(frozen=True, kw_only=True)
class _Opened:
    contender: Contender
    process: Process
    said: Mapping[str, Any]


def benchmark(
    artifacts: Sequence[Path],
    settings: Settings = Settings(),
    *,
    progress: Progress = lambda _: None,
    warn: Callable[[str], object] = lambda _: None,
) -> list[Measured]:
    """Measure artifacts, each with each number of threads on each device, timed in turn.

    All are opened before anything is timed: one that cannot be ends it.

    Args:
        artifacts: Files that edgecv exported, and Keras networks.
        settings: How.
        progress: Told what is going on.
        warn: Told what a user should know of the figures.

    Raises:
        ArtifactError: A file is no artifact; DigestError: it is damaged.
        DeviceError: An engine ran on another device.
        OptionError: There is nothing to measure.
        EdgecvError: A contender cannot run, as without its engine or its device.
    """
    contenders = _contenders(artifacts, settings, warn)
    layers = {path: _checked(path, settings) for path in {each.artifact: None for each in contenders}}
    with contextlib.ExitStack() as stack:
        opened = []
        for contender in contenders:
            progress(f"opening {contender.name}")
            opened.append(_open(contender, stack.enter_context(Process(contender)), settings))
        timings, throughput = _timed(opened, settings.seconds, progress, warn)
        peaks = _peaks(opened, progress)
        return [
            _measured(each, timing, rates, peaks.get(each.contender.threads), layers, settings, progress, warn)
            for each, timing, rates in zip(opened, timings, throughput, strict=True)
        ]


def _contenders(artifacts: Sequence[Path], settings: Settings, warn: Callable[[str], object]) -> list[Contender]:
    """Return what competes; a device on which only others run is left out of those that run elsewhere."""
    if not artifacts:
        raise OptionError("There is nothing to measure. Name an artifact.")
    threads = _once(settings.threads) or [machine.cores()]
    wanted = _once(settings.devices)
    offered = {path: wanted if _is_keras(path) else _runtime(path).devices() for path in artifacts}
    somewhere = {device for devices in offered.values() for device in devices}
    found = []
    for artifact in _once(artifacts):
        # One that is nowhere stays: opening says why.
        devices = [device for device in wanted if device in offered[artifact] or device not in somewhere] or wanted
        for device in wanted:
            if device not in devices:
                warn(f"{str(artifact)!r} does not run on {device}: left out there.")
        found += [Contender(artifact=artifact, device=device, threads=count) for device in devices for count in threads]
    return found


def _once(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _is_keras(path: Path) -> bool:
    return path.suffix.lower() in _KERAS


def _runtime(path: Path) -> Runtime:
    """Return the runtime of an artifact.

    Raises:
        ArtifactError: There is no such file, or its suffix is neither an artifact's nor a network's.
    """
    if path.suffix.lower() not in known_suffixes() and not is_artifact_folder(path):
        known = ", ".join((*known_suffixes(), *_KERAS))
        raise ArtifactError(f"{str(path)!r} cannot be measured: its suffix is none of {known}.")
    return runtime_of(path)[1]


def _checked(path: Path, settings: Settings) -> Mapping[str, str]:
    """Refuse a file that cannot be measured; return the layers that its metadata know."""
    if _is_keras(path):
        if not path.is_file():
            raise ArtifactError(f"{str(path)!r} does not exist. Name a .keras file or a file that edgecv exported.")
        return {}
    document = _runtime(path).read_metadata(path)
    if settings.check:
        metadata.check_digest(path, document)
    layers = document.get("layers")
    return layers if isinstance(layers, dict) else {}


def _open(contender: Contender, process: Process, settings: Settings) -> _Opened:
    said = process.ask(
        "open",
        artifact=str(contender.artifact),
        device=contender.device,
        threads=contender.threads,
        keras=_is_keras(contender.artifact),
        image=settings.image,
        imports=list(settings.imports),
    )
    if said["device"] != contender.device:
        raise DeviceError(f"{contender.name} ran on {said['device']}. Check the driver, or leave the device out.")
    return _Opened(contender=contender, process=process, said=said)


def _timed(
    opened: Sequence[_Opened], seconds: float, progress: Progress, warn: Callable[[str], object]
) -> tuple[list[Timing], list[tuple[Throughput, ...]]]:
    """Time a run of each, and then the batches of those whose batch is dynamic."""
    dynamic = [each for each in opened if each.said["dynamic"]]
    share = _BATCH_SHARE if dynamic else 0.0
    progress("timing in turn")
    timings = _in_turn(opened, None, (1 - share) * seconds)
    _warn_of_intervals(opened, timings, seconds, warn)
    rates = {id(each): [_throughput(each.said["batch"], timing)] for each, timing in zip(opened, timings, strict=True)}
    more = [batch for batch in _BATCHES if batch > 1]
    for batch in more if dynamic else ():
        progress(f"timing batches of {batch}")
        times = _in_turn(dynamic, batch, share * seconds / len(more))
        for each, timing in zip(dynamic, times, strict=True):
            rates[id(each)].append(_throughput(batch, timing))
    return timings, [tuple(rates[id(each)]) for each in opened]


def _in_turn(opened: Sequence[_Opened], batch: int | None, seconds: float) -> list[Timing]:
    """Time runs of a batch, or of each one's own."""

    def turn(each: _Opened) -> Callable[[int], Sequence[float]]:
        size = batch or each.said["batch"]
        return lambda runs: each.process.ask("turn", batch=size, runs=runs)["seconds"]

    turns = {str(number): turn(each) for number, each in enumerate(opened)}
    return list(measure_in_turn(turns, seconds=seconds, precision=PRECISION).values())


def _throughput(batch: int, timing: Timing) -> Throughput:
    return Throughput(batch=batch, pictures_per_second=1e3 * batch / timing.p50_ms)


def _warn_of_intervals(
    opened: Sequence[_Opened], timings: Sequence[Timing], seconds: float, warn: Callable[[str], object]
) -> None:
    wide = [(timing.interval, each) for each, timing in zip(opened, timings, strict=True) if not timing.converged]
    if wide:
        worst = max(interval for interval, _ in wide)
        warn(
            f"After {seconds:g} s the medians of {len(wide)} of {len(opened)} are not known within {PRECISION:.0%} "
            f"(worst {worst:.1%}): the machine is busy, or --seconds is too short."
        )


def _peaks(opened: Sequence[_Opened], progress: Progress) -> dict[int, float]:
    """Return the matrix product's GFLOP/s by number of threads, for what runs on the processor."""
    progress("measuring the matrix product")
    return measure_peaks(_once(each.contender.threads for each in opened if each.contender.device == "cpu"))


def _measured(
    each: _Opened,
    timing: Timing,
    throughput: tuple[Throughput, ...],
    peak: float | None,
    layers: Mapping[Path, Mapping[str, str]],
    settings: Settings,
    progress: Progress,
    warn: Callable[[str], object],
) -> Measured:
    contender, said = each.contender, each.said
    progress(f"looking into {contender.name}")
    load, counted = each.process.ask("load")["load_ms"], _multiply_adds(each, warn)
    profile = _profile(each, layers[contender.artifact], settings, warn) if settings.profile else None
    return Measured(
        contender=contender,
        runtime=said["runtime"],
        provider=said["provider"],
        precision=said["precision"],
        bytes=size_of(contender.artifact),
        batch=said["batch"],
        timing=timing,
        load_ms=load,
        first_ms=said["first_ms"],
        peak_rss_mb=said["peak_rss_mb"],
        throughput=throughput,
        multiply_adds=counted,
        peak_gflops=peak if contender.device == "cpu" else None,
        profile=profile,
    )


def _multiply_adds(each: _Opened, warn: Callable[[str], object]) -> int | None:
    try:
        counted: int | None = each.process.ask("count")["multiply_adds"]
        return counted
    except EdgecvError as error:  # the times are right all the same
        warn(f"The multiply-adds of {each.contender.name} cannot be counted: {error}")
        return None


def _profile(
    each: _Opened, layers: Mapping[str, str], settings: Settings, warn: Callable[[str], object]
) -> Profile | None:
    try:
        nodes = each.process.ask("profile", seconds=min(_PROFILE_SECONDS, settings.seconds))["nodes"]
    except EdgecvError as error:  # the times are right all the same
        warn(f"{each.contender.name} has no profile: {error}")
        return None
    if nodes is None:
        warn(f"{each.contender.name} has no profile: {each.said['runtime']} cannot say where the time goes in it.")
        return None
    times = [NodeTime(**{**node, "tensors": tuple(node["tensors"])}) for node in nodes]
    return make_profile(times, layers)
