"""What a second process saw: the same bytes, no network, nothing left behind by a failure."""

import re
import signal
from typing import TYPE_CHECKING, Any

from edgecv.pipeline import default_name, export
from edgecv.quiet import quiet_frameworks
from edgecv.testing.check import Check, FailedError, SkippedError, demand
from edgecv.testing.second import bytes_of

if TYPE_CHECKING:
    from edgecv.testing.bench import Bench

__all__ = ["CHECKS"]

_GROUP = "Failures"
# The names of edgecv.files, which the next run removes.
_TEMPORARY = re.compile(r"^\.edgecv-tmp-\d+-[0-9a-f]{8}-")


def _same_bytes(bench: "Bench") -> None:
    report = bench.second
    if not report["bytes"]:
        raise SkippedError(f"the second process could write nothing: {next(iter(report['errors'].values()), '')}")
    for key, files in report["bytes"].items():
        case, precision = key.rsplit(" ", 1)
        here = bytes_of(bench.artifact(case, precision).path)
        demand(set(here) == set(files), f"{key}: a second process writes other files: {sorted(set(here) ^ set(files))}")
        changed = [name or "the file" for name, digest in here.items() if files[name] != digest]
        demand(not changed, f"{key}: a second process writes other bytes in {', '.join(changed)}")


def _no_network(bench: "Bench") -> None:
    attempts = bench.second["attempts"]
    demand(not attempts, f"it wants the network: {attempts[0] if attempts else ''}")


def _nothing_beside(bench: "Bench") -> None:
    report = bench.second
    for folder in ("current", "temporary"):
        left = report[folder]
        demand(not left, f"exporting leaves {', '.join(left[:3])} in the {folder} folder")
    written = report.get("whole")
    demand(
        written in (None, [report.get("name")]), f"export() leaves {written} where it should write {report.get('name')}"
    )


def _limits(bench: "Bench") -> dict[str, Any]:
    report = bench.second
    if "no_limits" in report:
        raise SkippedError("this system cannot limit the size of files")
    return report


def _full_disk(bench: "Bench") -> None:
    report = _limits(bench)
    demand("error" in report, "where the system takes no more bytes, export() raises nothing")
    left = report["full"]
    demand(not left, f"an error in the middle of writing leaves {', '.join(left)}")


def _killed(bench: "Bench") -> None:
    report = _limits(bench)
    if report["exit"] != -signal.SIGXFSZ:
        raise SkippedError(f"the second process was not killed while it wrote: exit {report['exit']}")
    folder = bench.folder / "second" / "killed"
    left = sorted(each.name for each in folder.iterdir() if not _TEMPORARY.match(each.name))
    demand(not left, f"killed in the middle of writing, it leaves {', '.join(left)}")
    original = bench.original(report["case"])
    exporter = bench.exporter()
    path = folder / default_name(original.deployable, exporter)
    with quiet_frameworks():
        export(original, to=exporter, name=bench.name, path=path, verify=False)
    left = sorted(each.name for each in folder.iterdir() if each != path)
    if left:
        raise FailedError(f"the next export does not remove what a killed one left: {', '.join(left)}")


_WHOLE = "Write through `with edgecv.files.replace_whole(path) as temporary:`, a folder as well; build all of it there."

CHECKS = (
    Check(
        name="same-bytes",
        group="Files",
        demands="Another process, with other hash seeds, clock and folders, writes the same bytes.",
        remedy="Sort what comes from sets and folders, and write no dates, paths or random names: in a zip, give each "
        "ZipInfo a fixed date_time.",
        run=_same_bytes,
        process=True,
    ),
    Check(
        name="no-network",
        group="Itself",
        demands="Exporting neither connects nor looks up a name.",
        remedy="Take what is needed into the distribution; turn off telemetry and update checks of the converter.",
        run=_no_network,
        process=True,
    ),
    Check(
        name="nothing-beside",
        group="Files",
        demands="Exporting leaves nothing in the current folder, in the temporary one, or beside the artifact.",
        remedy="Use `with tempfile.TemporaryDirectory() as folder:` for what is needed on the way.",
        run=_nothing_beside,
        process=True,
    ),
    Check(
        name="full-disk",
        group=_GROUP,
        demands="An error in the middle of writing leaves nothing, not even half a file under another name.",
        remedy=_WHOLE,
        run=_full_disk,
        process=True,
    ),
    Check(
        name="killed",
        group=_GROUP,
        demands="A process that is killed while it writes leaves nothing under the artifact's name; the next tidies.",
        remedy=_WHOLE,
        run=_killed,
        process=True,
    ),
)
