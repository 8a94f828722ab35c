"""What is written: one whole artifact with its metadata inside, and nothing else touched."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv import metadata
from edgecv.errors import ArtifactError, one_line
from edgecv.runtimes.container import artifact_files
from edgecv.session import runtime_of
from edgecv.testing.cases import LABELS
from edgecv.testing.check import Check, SkippedError, demand
from edgecv.testing.second import bytes_of

if TYPE_CHECKING:
    from edgecv.testing.bench import Bench

__all__ = ["CHECKS"]

_GROUP = "Files"


def _at_its_name(bench: "Bench") -> None:
    case = bench.simplest
    path = bench.artifact(case).path
    demand(path.exists(), f"there is nothing at {path.name!r}")
    kind, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
    demand(path.is_dir() == (not bench.factory.suffix), f"it wrote a {kind}, where its suffix says a {wanted}")
    beside = sorted(each.name for each in path.parent.iterdir() if each != path)
    demand(not beside, f"there is more beside the artifact: {', '.join(beside)}")
    files = artifact_files(path)
    empty = all(file.stat().st_size == 0 for file in files.values())
    demand(files and not empty, "the artifact is empty")


def _metadata(bench: "Bench") -> None:
    case = bench.simplest
    document = bench.document(case)
    original = bench.original(case)
    wanted = {
        "model": original.deployable.name,
        "task": original.deployable.task,
        "format": bench.name,
        "precision": bench.base,
        "input": original.deployable.input.to_json(),
        "preprocess": original.deployable.preprocess.to_json(),
        "sha256": original.weights_sha256,
    }
    for key, value in wanted.items():
        demand(json.dumps(document.get(key)) == json.dumps(value), f"{key!r} is {_short(document.get(key))}")
    outputs = [each["name"] for each in document["outputs"]]
    demand(outputs == list(original.deployable.output_names), f"'outputs' is {outputs}")


def _labels(bench: "Bench") -> None:
    labels = bench.document(bench.first("classifier")).get("labels")
    demand(labels == list(LABELS), f"'labels' is {_short(labels)} instead of {list(LABELS)}")


def _digest(bench: "Bench") -> None:
    case = bench.simplest
    path, document = bench.artifact(case).path, bench.document(case)
    try:
        metadata.check_digest(path, document)
    except ArtifactError as error:
        demand(False, f"right after writing, {one_line(error)}")
    for name, file in artifact_files(path).items():
        copy = bench.copy(path)
        damaged = copy / name if copy.is_dir() else copy
        content = bytearray(file.read_bytes())
        if not content:
            continue
        content[len(content) // 2] ^= 1
        damaged.write_bytes(bytes(content))
        try:
            metadata.check_digest(copy, bench.runtime[1].read_metadata(copy))
        except ArtifactError:
            continue
        demand(False, f"a changed byte in {name!r} is not seen")


def _metadata_replaced(bench: "Bench") -> None:
    case = bench.simplest
    runtime = bench.runtime[1]
    path, document = bench.artifact(case).path, bench.document(case)
    copy = bench.copy(path)
    one, other = ({**document, "digest": letter * 64} for letter in "ab")
    runtime.write_metadata(copy, one)
    first = _without_digest(copy, "a" * 64)
    demand(runtime.read_metadata(copy) == one, "read_metadata does not give back what write_metadata was given")
    runtime.write_metadata(copy, {**other, "model": "replaced " * 50})
    runtime.write_metadata(copy, other)
    demand(runtime.read_metadata(copy) == other, "metadata that were written later do not take the place of the first")
    demand(_without_digest(copy, "b" * 64) == first, "other bytes of the container depend on the digest, or pile up")


def _without_digest(path: Path, digest: str) -> dict[str, str]:
    return {
        "" if file == path else name: hashlib.sha256(file.read_bytes().replace(digest.encode(), b"0" * 64)).hexdigest()
        for name, file in artifact_files(path).items()
    }


def _opened_by_its_runtime(bench: "Bench") -> None:
    path = bench.artifact(bench.simplest).path
    name, runtime = bench.runtime
    found = runtime_of(path)[0]
    demand(found == name, f"runtime {found!r} opens it, not {name!r}")
    opens: Any = getattr(runtime, "opens", None)
    if opens is None:
        demand("" not in runtime.suffixes, f"runtime {name!r} opens folders, but has no opens() to know its own")
        return
    demand(opens(path), f"opens() of runtime {name!r} does not know its own artifact")
    foreign = bench.new_folder("foreign") / f"foreign{bench.factory.suffix}"
    if bench.factory.suffix:
        foreign.write_bytes(b"something else")
    else:
        foreign.mkdir()
        (foreign / "edgecv.json").write_text("{}")
    demand(
        not opens(foreign), f"opens() of runtime {name!r} takes a foreign {'file' if foreign.is_file() else 'folder'}"
    )


def _original_unchanged(bench: "Bench") -> None:
    from edgecv.weights import hash_weights

    for case in ("classifier", "detector"):
        try:
            bench.artifact(case)
        except SkippedError:
            continue
        exporter = bench.exporter()
        deployable = bench.original(case).deployable
        before = (hash_weights(deployable.network), deployable.network.to_json())
        source = bench.source(case, exporter)
        start = None if source is deployable else bytes_of(source.path)  # type: ignore[union-attr]
        from edgecv.quiet import quiet_frameworks

        with quiet_frameworks():
            exporter.export(source, bench.new_folder("unchanged") / f"artifact{exporter.suffix}")
        after = (hash_weights(deployable.network), deployable.network.to_json())
        demand(before[0] == after[0], f"{case}: the weights of the original are others after the export")
        demand(before[1] == after[1], f"{case}: the layers of the original are others after the export")
        if start is not None:
            demand(source.path.exists(), f"{case}: the artifact that it starts from is gone after the export")  # type: ignore[union-attr]
            changed = bytes_of(source.path) != start  # type: ignore[union-attr]
            demand(not changed, f"{case}: the artifact that it starts from is another one after the export")


def _checkpoints(bench: "Bench") -> None:
    bench.must_run()
    tried = []
    for case in ("detector", "segmenter"):
        try:
            artifact = bench.artifact(case)
        except SkippedError as error:
            tried.append(str(error))
            continue
        deployable = bench.original(case).deployable
        wanted = deployable.checkpoints
        demand(set(wanted) <= set(artifact.checkpoints), f"{case}: the artifact lists {artifact.checkpoints or 'none'}")
        document = bench.document(case)
        demand(
            set(wanted) <= set(document["checkpoints"]), f"{case}: metadata list {document['checkpoints'] or 'none'}"
        )
        feed = bench.pictures(case)[:1]
        expected = deployable.run(feed, checkpoints=True)
        given = bench.runtime[1].open(artifact.path, expose=wanted).run({"image": feed})
        for name in wanted:
            demand(name in given, f"{case}: exposed, {name!r} does not come out")
            shape = given[name].shape
            demand(shape == expected[name].shape, f"{case}: {name!r} is {shape}, the original's {expected[name].shape}")
    if len(tried) == 2:
        raise SkippedError(tried[0])


def _short(value: Any) -> str:
    return repr(value)[:120]


CHECKS = (
    Check(
        name="at-its-name",
        group=_GROUP,
        demands="There is one file with its suffix, or one folder, under the name that was asked for, and no more.",
        remedy="Write only `path`; put what is needed on the way into a temporary folder of the system.",
        run=_at_its_name,
    ),
    Check(
        name="metadata-inside",
        group=_GROUP,
        demands="read_metadata gives what edgecv wrote: model, task, format, precision, input, outputs, scaling.",
        remedy="Store the whole document in write_metadata, through edgecv.metadata.dump, and read it with "
        "edgecv.metadata.load; drop no key.",
        run=_metadata,
    ),
    Check(
        name="labels-inside",
        group=_GROUP,
        demands="The labels in the metadata are the original's, letter for letter.",
        remedy="Store the metadata as JSON text, in ASCII or UTF-8.",
        run=_labels,
    ),
    Check(
        name="digest",
        group=_GROUP,
        demands="The digest is right after writing, and a changed byte anywhere is seen.",
        remedy="Let the digest's 64 characters stand in the file as they are: store the metadata uncompressed, without "
        "a checksum over them, and nothing that is ignored when it is read.",
        run=_digest,
    ),
    Check(
        name="metadata-replaced",
        group=_GROUP,
        demands="write_metadata puts a document in place of an earlier one; other bytes do not depend on the digest.",
        remedy="Remove the old metadata before writing; no checksum or compression may cover the digest's characters.",
        run=_metadata_replaced,
    ),
    Check(
        name="opened-by-its-runtime",
        group=_GROUP,
        demands="edgecv finds its runtime for the artifact, and opens() knows its own artifacts from others'.",
        remedy="Name the runtime as the attribute `runtime` and give the Runtime opens(path), which looks for a file "
        "or mark that only this format has.",
        run=_opened_by_its_runtime,
    ),
    Check(
        name="original-unchanged",
        group=_GROUP,
        demands="Weights and layers of the original, and an artifact that it starts from, stay as they are.",
        remedy="Convert a copy; undo in `finally` what has to be changed on the way.",
        run=_original_unchanged,
    ),
    Check(
        name="checkpoints",
        group=_GROUP,
        demands="A detector's tensors before NMS and a segmenter's scores stay inside by name, and can be exposed.",
        remedy="Keep the names of `deployable.checkpoints` in the graph, list them in `Artifact.checkpoints`, and "
        "return them from run() where open(expose=…) names them.",
        run=_checkpoints,
    ),
)
