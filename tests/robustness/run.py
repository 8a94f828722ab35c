"""Damage artifacts and hold the commands to them: python tests/robustness/run.py [COUNT] [--sealed] [--first N].

Prints how often each command ended how, and every case that ended as none may.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from damaging import Case, cases, damage  # type: ignore[import-not-found]
from worker import Outcome, Worker  # type: ignore[import-not-found]

SAMPLES = Path(__file__).parents[1] / "golden" / "robustness"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=2000)
    parser.add_argument(
        "--sealed", action="store_true", help="make the digest anew, so that the engines see the damage"
    )
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--only", default="", help="samples whose names hold this")
    parser.add_argument("--commands", default="inspect,verify,predict")
    parser.add_argument("--case", type=int, help="one case alone, kept in the folder `case`")
    options = parser.parse_args()
    names = sorted(each.name for each in SAMPLES.iterdir() if each.name != "picture.png" and options.only in each.name)
    todo = cases(names, options.count, sealed=options.sealed, first=options.first)
    counts: Counter[tuple[str, str]] = Counter()
    slowest, largest = 0.0, 0
    with Worker() as worker:
        for case in todo:
            for command in options.commands.split(","):
                found = _run(worker, case, command)
                if found is None:
                    counts[command, "cannot be sealed"] += 1
                    continue
                slowest, largest = max(slowest, found.seconds), max(largest, found.growth)
                counts[command, found.fault or f"exit {found.code}"] += 1
                if found.fault:
                    print(f"{case} {command}: {found.fault}: {found.err[:300]!r}", flush=True)
        starts = worker.starts
    for (command, ended), count in sorted(counts.items()):
        print(f"{command:<10} {ended:<20} {count}")
    print(f"slowest {slowest:.1f} s, largest growth {largest >> 20} MiB, {starts} processes")


def _run(worker: Worker, case: Case, command: str) -> Outcome | None:
    with tempfile.TemporaryDirectory() as folder:
        path = damage(case, SAMPLES, Path(folder))
        if path is None:
            return None
        result: Outcome = worker.run(*arguments(command, path))
        if result.fault in ("SIGSEGV", "SIGABRT", "SIGFPE", "hang", "memory"):
            kept = Path(tempfile.gettempdir()) / "robustness" / f"{str(case).replace(':', '_')}{path.suffix}"
            kept.parent.mkdir(exist_ok=True)
            if path.is_file():
                shutil.copy(path, kept)
        return result


def arguments(command: str, path: Path) -> list[object]:
    picture = SAMPLES / "picture.png"
    return {
        "inspect": ["inspect", path],
        "verify": ["verify", path],
        "predict": ["predict", path, picture],
        "unchecked": ["predict", path, picture, "--no-check"],
        "benchmark": ["benchmark", path, "--seconds", "0.1"],
    }[command]


if __name__ == "__main__":
    main()
