"""What the runtime does on the device: inputs, outputs, errors, threads."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.errors import DeviceError, OptionError, one_line
from edgecv.runtimes.container import artifact_files
from edgecv.testing.bench import start
from edgecv.testing.cases import CASES, LABELS
from edgecv.testing.check import Check, FailedError, SkippedError, demand
from edgecv.testing.checks.itself import HEAVY, engines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgecv.runtime import Runner
    from edgecv.testing.bench import Bench

__all__ = ["CHECKS"]

_GROUP = "On the device"


def _written(bench: "Bench") -> "Iterator[str]":
    """Yield the cases that there are artifacts of."""
    found = False
    for case in CASES:
        try:
            bench.artifact(case)
        except SkippedError:
            continue
        found = True
        yield case
    if not found:
        raise SkippedError("there is no artifact to look at: see the checks 'answers-…'")


def _input(bench: "Bench") -> None:
    for case in _written(bench):
        wanted = bench.original(case).deployable.input
        given = bench.runner(case).inputs
        demand(len(given) == 1, f"{case}: it has {len(given)} required inputs")
        told = f"{given[0].name} {given[0].dtype} {list(given[0].shape)}"
        demand(
            given[0] == wanted, f"{case}: its input is {told}, not {wanted.name} {wanted.dtype} {list(wanted.shape)}"
        )


def _outputs(bench: "Bench") -> None:
    for case in _written(bench):
        original = bench.original(case)
        runner = bench.runner(case)
        wanted = original.deployable.output_names
        names = {info.name for info in runner.outputs}
        demand(names == set(wanted), f"{case}: its outputs are {', '.join(sorted(names))}, not {', '.join(wanted)}")
        feed = original.deployable.feed(bench.pictures(case)[:1])
        expected, given = original.deployable.run(feed), runner.run({"image": feed})
        for name in wanted:
            demand(name in given, f"{case}: run() does not give {name!r}")
            told = f"{given[name].dtype} {given[name].shape}"
            same = (given[name].dtype, given[name].shape) == (expected[name].dtype, expected[name].shape)
            demand(same, f"{case}: {name!r} is {told}, the original's {expected[name].dtype} {expected[name].shape}")


def _optional_inputs(bench: "Bench") -> None:
    import numpy as np

    artifact, runner = bench.artifact(bench.first("detector")), bench.runner("detector")
    names = tuple(info.name for info in runner.optional_inputs)
    told, found = (", ".join(each) or "none" for each in (artifact.optional_inputs, names))
    demand(set(names) == set(artifact.optional_inputs), f"export() lists {told}, the runner {found}")
    if not names:
        raise SkippedError("thresholds are baked in: its artifacts have no optional inputs")
    feed = {"image": bench.pictures("detector")[:1]}
    demand("score_threshold" in names, f"its optional inputs are {', '.join(names)}")
    given = runner.run({**feed, "score_threshold": np.array(1.0, np.float32)})
    demand(int(given["count"][0]) == 0, "a score_threshold of 1 still gives detections")


def _engineless(bench: "Bench") -> None:
    case = bench.simplest
    path = bench.artifact(case).path
    blocked = sorted({*HEAVY, *engines_of(bench)})
    process = start("alone", "engineless", str(bench.folder), bench.runtime[0], str(path), *blocked)
    output, errors = process.communicate(timeout=120)
    demand(process.returncode == 0, f"it fails where no engine is installed: {' '.join(errors.split())[-200:]}")
    document = json.loads(output.splitlines()[-1])
    demand(document["model"] == bench.original(case).deployable.name, "read_metadata gives another model")
    operators = document["operators"]
    counted = operators and all(isinstance(count, int) and count > 0 for count in operators.values())
    demand(counted, f"operators() gives {operators!r}")


def _damaged(bench: "Bench") -> None:
    path = bench.artifact(bench.simplest).path
    copies = list(_damage(bench, path))
    process = start("alone", "damaged", str(bench.folder), bench.runtime[0], *map(str, copies))
    output, errors = process.communicate(timeout=120)
    last = json.loads(output.splitlines()[-1]) if output.strip() else {}
    if process.returncode < 0:
        where = Path(last.get("at", "?")).parent.name
        raise FailedError(f"the process died of signal {-process.returncode} in {last.get('step')} on a file {where}")
    demand(process.returncode == 0, f"{' '.join(errors.split())[-200:]}")
    for raised in last:
        what = Path(raised["path"]).parent.name.rpartition(" ")[0]
        demand("open" in raised, f"open() takes a file that is {what}")
        for step in ("open", "read_metadata"):
            if step not in raised:  # metadata may lie in what is left
                continue
            error = raised[step]
            ours = "ArtifactError" in error["kinds"]
            demand(ours, f"{step}() of a file that is {what} raises {error['kinds'][0]}: {error['line']}")
            demand("\n" not in error["message"], f"{step}() of a file that is {what} raises several lines")


def _damage(bench: "Bench", path: Path) -> "Iterator[Path]":
    """Yield damaged copies; of a folder, its largest file but the metadata is damaged."""
    ways: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda _: b"",
        "cut in the middle": lambda content: content[: len(content) // 2],
        "something else": lambda _: b"This is a text and nothing else.\n" * 40,
    }
    for name, way in ways.items():
        copy = bench.new_folder(name) / path.name
        if path.is_dir():
            shutil.copytree(path, copy)
            files = [file for inside, file in artifact_files(copy).items() if inside != "edgecv.json"]
            victim = max(files, key=lambda file: file.stat().st_size)
        else:
            shutil.copyfile(path, copy)
            victim = copy
        victim.write_bytes(way(victim.read_bytes()))
        yield copy


def _unknown_device(bench: "Bench") -> None:
    _refused(
        lambda: bench.runtime[1].open(bench.artifact(bench.simplest).path, device="no-such-device"),
        DeviceError,
        "device='no-such-device'",
    )


def _threads(bench: "Bench") -> None:
    import numpy as np

    bench.must_run()
    case = bench.simplest
    path = bench.artifact(case).path
    feed = {"image": bench.original(case).deployable.feed(bench.pictures(case)[:1])}
    runs = [bench.runtime[1].open(path, threads=threads).run(feed) for threads in (1, 2)]
    for name, values in runs[0].items():
        same = np.allclose(values, runs[1][name], rtol=1e-3, atol=1e-5)
        demand(same, f"{name!r} is another one with two threads than with one")
    _refused(lambda: bench.runtime[1].open(path, threads=0), OptionError, "threads=0")


def _wrong_feeds(bench: "Bench") -> None:
    import numpy as np

    case = bench.simplest
    runner = bench.runner(case)
    good = bench.original(case).deployable.feed(bench.pictures(case)[:1])
    wrong: dict[str, dict[str, Any]] = {
        "no input": {},
        "an unknown input": {"image": good, "no_such_input": good},
        "another type": {"image": good.astype(np.int16)},
        "one row less": {"image": good[:, 1:]},
        "one dimension less": {"image": good[0]},
        "an empty batch": {"image": good[:0]},
    }
    for what, feeds in wrong.items():
        _refused(lambda feeds=feeds: runner.run(feeds), OptionError, f"run() with {what}")  # type: ignore[misc]
    runner.run({"image": good})  # and it still runs


def _own_arrays(bench: "Bench") -> None:
    import numpy as np

    case = bench.simplest
    runner: Runner = bench.runner(case)
    feeds = [bench.original(case).deployable.feed(picture[None]) for picture in bench.pictures(case)[:2]]
    given = feeds[0].copy()
    first = runner.run({"image": feeds[0]})
    demand(np.array_equal(given, feeds[0]), "run() changes what it is given")
    kept = {name: values.copy() for name, values in first.items()}
    runner.run({"image": feeds[1]})
    for name, values in first.items():
        demand(np.array_equal(values, kept[name]), f"{name!r} of an earlier run changes when the next one runs")
    again = runner.run({"image": feeds[0]})
    for name, values in again.items():
        demand(np.array_equal(values, kept[name]), f"{name!r} is another one when the same picture comes again")
    demand(runner.device == "cpu", f"device is {runner.device!r} where cpu was asked for")
    demand(isinstance(runner.provider, str) and runner.provider, f"provider is {runner.provider!r}")


def _predicts(bench: "Bench") -> None:
    import edgecv
    from edgecv.photos import shipped_photos

    bench.must_run()
    photo = next(iter(shipped_photos().values()))
    for case in _written(bench):
        results = edgecv.load(bench.artifact(case).path).predict(photo)
        demand(isinstance(results, list), f"{case}: predict() gives {type(results).__name__}")
        if case == "classifier":
            labels = {each["label"] for each in results}
            demand(labels == set(LABELS), f"{case}: predict() gives the labels {sorted(labels)}")
        if case == "detector":
            height, width = photo.shape[:2]
            demand(results, f"{case}: predict() finds nothing on a photo")
            inside = all(0 <= each["box"][0] <= width and 0 <= each["box"][3] <= height for each in results)
            demand(inside, f"{case}: predict() gives boxes outside of the picture")


def _refused(call: "Callable[[], Any]", kind: type[Exception], what: str) -> None:
    try:
        call()
    except kind as error:
        demand("\n" not in str(error), f"{what} is refused in several lines: {one_line(error)}")
    except Exception as error:
        problem = f"{what} raises {type(error).__name__}, no {kind.__name__}: {one_line(error)}"
        raise FailedError(problem) from error
    else:
        raise FailedError(f"{what} is taken")


CHECKS = (
    Check(
        name="input",
        group=_GROUP,
        demands="The one required input is `image`, uint8 [N, height, width, channels] where pictures go in.",
        remedy="Keep name, type and layout of `deployable.input`; whatever the engine prefers stays inside. A dynamic "
        "dimension is None.",
        run=_input,
    ),
    Check(
        name="outputs",
        group=_GROUP,
        demands="Outputs have the names, types and shapes of the original's: class ids, count and mask are int32.",
        remedy="Keep the names of `deployable.output_names` and cast and transpose inside the graph.",
        run=_outputs,
    ),
    Check(
        name="optional-inputs",
        group=_GROUP,
        demands="Inputs with a baked default are listed on both sides, and take effect.",
        remedy="List in `Artifact.optional_inputs` what the runner has as optional_inputs; bake thresholds otherwise.",
        run=_optional_inputs,
    ),
    Check(
        name="engine-not-needed",
        group=_GROUP,
        demands="read_metadata, operators and custom_operators work where no engine is installed.",
        remedy="Parse the container yourself there: edgecv.runtimes has readers of ONNX, TFLite and folders.",
        run=_engineless,
    ),
    Check(
        name="damaged-files",
        group=_GROUP,
        demands="Empty, cut and foreign files are refused with an ArtifactError in one line, and end no process.",
        remedy="Catch what the engine and the unpacking raise, and raise edgecv.runtimes.container.unreadable(path, "
        "FORMAT, error) from it.",
        run=_damaged,
    ),
    Check(
        name="unknown-device",
        group=_GROUP,
        demands="A device that is not there is refused with a DeviceError in one line.",
        remedy="Compare `device` with devices() before the engine sees it, and raise edgecv.errors.DeviceError.",
        run=_unknown_device,
    ),
    Check(
        name="threads",
        group=_GROUP,
        demands="open() takes threads, answers stay the same, and 0 is refused with an OptionError.",
        remedy="Pass threads on to the engine, behind edgecv.runtimes.feeds.check_threads(threads).",
        run=_threads,
    ),
    Check(
        name="wrong-feeds",
        group=_GROUP,
        demands="run() refuses missing and unknown inputs, other types and shapes with an OptionError in one line.",
        remedy="Call edgecv.runtimes.feeds.check_feeds(feeds, inputs, optional_inputs) first in run().",
        run=_wrong_feeds,
    ),
    Check(
        name="own-arrays",
        group=_GROUP,
        demands="What run() returns is the caller's to keep; the same picture gives the same answer; feeds stay.",
        remedy="Copy what the engine gives where that is a view of its memory.",
        run=_own_arrays,
    ),
    Check(
        name="predicts",
        group=_GROUP,
        demands="`edgecv.load(path).predict(photo)` answers with labels, and with boxes in pixels of the photo.",
        remedy="Look at the checks 'input', 'outputs' and 'labels-inside' first.",
        run=_predicts,
    ),
)
