"""The second process of the conformance kit: ``python -m edgecv.testing.second NAME FOLDER [CALIBRATION]``.

It exports again what the first one exported, under another hash seed, clock and folder, without a network; then it lets
the exporter fail in the middle of writing, once with an error and once by being killed. It reports in ``report.json``.
"""

import hashlib
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.errors import EdgecvError, one_line
from edgecv.exporting import default_name
from edgecv.runtimes.container import artifact_files
from edgecv.testing.check import SkippedError

if TYPE_CHECKING:
    from edgecv.testing.bench import Bench

__all__ = ["AGAIN", "bytes_of", "main"]

# Cases that are exported again: a plain network, loops and checkpoints.
AGAIN = ("classifier", "detector", "segmenter")
# What a program does that talks to others; sockets within the machine have no address of this form.
_CALLS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request")


def main(name: str, folder: Path, calibration: Path | None) -> None:
    """Do all of it, and report after every step: the last one kills this process."""
    from edgecv.testing.bench import Bench

    attempts = _without_network()
    bench = Bench(name, folder)
    if calibration is not None:
        bench.__dict__["calibration"] = calibration
    report: dict[str, Any] = {"attempts": attempts, "bytes": {}, "errors": {}}
    for precision in bench.factory.precisions:
        for case in AGAIN if precision == bench.base else AGAIN[:1]:
            key = f"{case} {precision}"
            try:
                report["bytes"][key] = bytes_of(bench.artifact(case, precision).path)
            except (SkippedError, EdgecvError) as error:
                report["errors"][key] = one_line(error)
    report["current"] = sorted(each.name for each in Path().iterdir())
    report["temporary"] = sorted(each.name for each in (folder / "temporary").iterdir())
    _write(folder, report)
    _fail(bench, folder, report)


def bytes_of(path: Path) -> dict[str, str]:
    """Return the sha256 of each file of an artifact, by its name."""
    single = not path.is_dir()
    return {
        "" if single else name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in artifact_files(path).items()
    }


def _without_network() -> list[str]:
    """Refuse every connection and look-up from now on; return the list of those that were tried."""
    attempts: list[str] = []

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        address = arguments[1] if event in _CALLS and len(arguments) > 1 else None
        if event in _LOOKUPS or isinstance(address, tuple):
            attempts.append(f"{event} {address or arguments[0]!r}")
            raise OSError(f"The conformance kit allows no network: {event}.")

    sys.addaudithook(refuse)
    return attempts


def _fail(bench: "Bench", folder: Path, report: dict[str, Any]) -> None:
    """Let the exporter write more than the system allows: it gets an error; then the process is killed."""
    try:
        import resource
    except ImportError:  # Windows
        report["finished"] = report["no_limits"] = True
        _write(folder, report)
        return
    case = bench.simplest
    exporter = bench.exporter()
    name = default_name(bench.original(case).deployable, exporter)
    whole, full, killed = (folder / each for each in ("whole", "full", "killed"))
    for each in (whole, full, killed):
        each.mkdir()
    artifact = bench.direct(case, whole / name, exporter)
    report["whole"] = sorted(each.name for each in whole.iterdir())
    files = artifact_files(artifact.path)
    largest = max((file.stat().st_size for file in files.values()), default=0)
    report |= {"case": case, "name": name, "limit": largest - 1}
    # What it starts from is written before, so that only its own writing is cut.
    sources = {each: bench.source(case, exporter) for each in (full, killed)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        _limit(resource, largest - 1, before[1])
        exporter.export(sources[full], full / name)
    except BaseException as error:
        report["error"] = {"type": type(error).__name__, "message": str(error)}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    report["full"] = sorted(each.name for each in full.iterdir())
    report["finished"] = True
    _write(folder, report)
    # The system ends a process that writes past the limit, unless it asked for an error, as Python does.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource, largest - 1, before[1])
    exporter.export(sources[killed], killed / name)


def _limit(resource: Any, size: int, most: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))


def _write(folder: Path, report: dict[str, Any]) -> None:
    temporary = folder / "report.tmp"
    temporary.write_text(json.dumps(report))
    temporary.replace(folder / "report.json")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
