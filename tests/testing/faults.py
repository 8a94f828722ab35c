"""Faults of exporters, planted in a new plugin by replacing a few of its lines; the fixture `faults` gives them."""

from dataclasses import dataclass

__all__ = ["ALL_ANSWERS", "FAULTS", "OF_PROCESSES", "Fault"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault.

    Attributes:
        name: What is wrong.
        exporter: Old → new text of the exporter's module.
        runtime: Old → new text of the runtime's module.
        fails: Checks that have to fail; each is run.
        says: What one of them says.
        slow: It takes many exports to see.
    """

    name: str
    fails: tuple[str, ...]
    exporter: tuple[tuple[str, str], ...] = ()
    runtime: tuple[tuple[str, str], ...] = ()
    says: str = ""
    slow: bool = False


_WRITE = "        write_archive(path, {MODEL: source.path.read_bytes()}, compress=self.compress)\n"
_RETURN = "        return dataclasses.replace(source, path=path)"
_OPEN = "            return OnnxRuntime().open(model, device=device, threads=threads, expose=expose)"
_METADATA = "        write_archive_metadata(path, document)"
_CONTENT = "    content = read_member(path, MODEL)\n"


def _before(line: str) -> tuple[tuple[str, str], ...]:
    """Put lines in front of the writing."""
    return ((_WRITE, line + _WRITE),)


def _of_another(change: str) -> tuple[tuple[str, str], ...]:
    """Write the ONNX file of a changed Deployable; ``change`` is an expression of the right one, ``d``."""
    lines = f"""        import tempfile
        from edgecv_onnx import OnnxExporter
        d = source.deployable
        with tempfile.TemporaryDirectory() as folder:
            other = OnnxExporter(precision=self.precision).export({change}, Path(folder) / "x.onnx")
            write_archive(path, {{MODEL: other.path.read_bytes()}}, compress=self.compress)
        return dataclasses.replace(other, path=path)
"""
    return ((_WRITE, lines),)


def _around(run: str, extra: str = "") -> tuple[tuple[str, str], ...]:
    """Run the network in another way; ``run`` is the body of a function of ``inner`` and ``feeds``."""
    wrapped = f"""

class Wrapped:
    def __init__(self, inner):
        self.inner = inner
        self.kept = {{}}

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def run(self, feeds):
        import numpy as np

        inner = self.inner
{run}
{extra}
"""
    opened = _OPEN.replace("OnnxRuntime().open(", "Wrapped(OnnxRuntime().open(") + ")"
    return ((_OPEN, opened), ('MODEL = "model.onnx"\n', 'MODEL = "model.onnx"\n' + wrapped))


FAULTS = (
    Fault(
        name="the channels are swapped",
        exporter=_of_another('dataclasses.replace(d, preprocess=dataclasses.replace(d.preprocess, order="rgb"))'),
        fails=("answers-classifier",),
        says="does not answer like the original",
    ),
    Fault(
        name="the scaling is left out",
        exporter=_of_another("dataclasses.replace(d, preprocess=type(d.preprocess)())"),
        fails=("answers-segmenter", "answers-black-and-white"),
        says="on an all-",
    ),
    Fault(
        name="suppression is left out",
        exporter=_of_another(
            "dataclasses.replace(d, detection=dataclasses.replace(d.detection, nms=None),"
            ' output_names=("boxes", "scores"))'
        ),
        fails=("answers-detector", "answers-nothing-found", "answers-too-many-found", "answers-in-order"),
        says="there is no output ['classes']: suppression is not inside",
    ),
    Fault(
        name="the runtime counts one detection too many",
        runtime=_around(
            """        given = inner.run(feeds)
        return {**given, "count": given["count"] + 1} if "count" in given else given"""
        ),
        fails=("answers-no-detections", "answers-nothing-found", "answers-too-many-found"),
        says="count is 1 where no score is above the threshold",
    ),
    Fault(
        name="detections come worst first",
        runtime=_around(
            """        given = inner.run(feeds)
        return {name: values[:, ::-1] if values.ndim > 1 else values for name, values in given.items()}"""
        ),
        fails=("answers-in-order",),
        says="",
    ),
    Fault(
        name="pictures of a batch are mixed up",
        runtime=_around("        return {name: values[::-1] for name, values in inner.run(feeds).items()}"),
        fails=("answers-dynamic-batch", "answers-batch"),
        says="depends on its neighbours",
    ),
    Fault(
        name="the batch is fixed",
        exporter=_of_another("dataclasses.replace(d, batch=1)"),
        fails=("answers-dynamic-batch", "answers-batch", "input"),
        says="dynamic-batch: its input is image uint8 [1, 24, 24, 3], not image uint8 [None, 24, 24, 3]",
    ),
    Fault(
        name="another output type",
        runtime=_around(
            """        given = inner.run(feeds)
        return {name: values.astype("float64") for name, values in given.items()}"""
        ),
        fails=("outputs",),
        says="is float64",
    ),
    Fault(
        name="metadata are dropped",
        runtime=((_METADATA, "        del document"),),
        fails=("metadata-inside", "labels-inside", "digest"),
        says="has no edgecv metadata",
    ),
    Fault(
        name="labels are dropped",
        runtime=((_METADATA, '        write_archive_metadata(path, {**document, "labels": []})'),),
        fails=("labels-inside", "predicts"),
        says="'labels' is [] instead of",
    ),
    Fault(
        name="every writing of metadata adds something",
        runtime=(
            (_METADATA, "        write_archive_metadata(path, {**document, 'times': document.get('times', 0) + 1})"),
        ),
        fails=("metadata-replaced",),
        says="read_metadata does not give back what write_metadata was given",
    ),
    Fault(
        name="what follows the network is dropped on reading",
        runtime=(
            (
                "        return read_archive_metadata(path)",
                '        return {**read_archive_metadata(path), "postprocess": {}}',
            ),
        ),
        fails=("verified-again",),
    ),
    Fault(
        name="the digest is compressed",
        runtime=(
            (
                _METADATA,
                "        import zipfile, json\n"
                "        with zipfile.ZipFile(path, 'a', zipfile.ZIP_DEFLATED) as archive:\n"
                "            archive.writestr('edgecv.json', json.dumps(dict(document)))",
            ),
        ),
        fails=("digest",),
        says="damaged",
    ),
    Fault(
        name="an option is ignored",
        exporter=((", compress=self.compress", ""),),
        fails=("options-honoured",),
        says="option 'compress' changes nothing: True gives the same bytes",
    ),
    Fault(
        name="nobody knows what to try for an option",
        exporter=(
            (
                '    compress: bool = field(default=False, metadata={"help": "Compress the model."})',
                '    compress: int = field(default=0, metadata={"help": "How hard."})',
            ),
        ),
        fails=("options-honoured",),
        says="nothing says what to try for option 'compress'",
    ),
    Fault(
        name="the precision is ignored",
        exporter=(('return {"precision": self.precision}', "return {}"),),
        fails=("precisions-honoured",),
        says="float16 gives the same bytes as float32",
    ),
    Fault(
        name="any precision is taken",
        exporter=(("if self.precision not in self.precisions:", "if False:"),),
        fails=("wrong-options",),
        says="precision='int8' is taken",
    ),
    Fault(
        name="an error has several lines",
        exporter=(("raise OptionError(f\"", 'raise OptionError(f"Oh no!\\n'),),
        fails=("wrong-options",),
        says="precision='int8' is refused in several lines: Oh no!",
    ),
    Fault(
        name="another kind of error",
        exporter=(("raise OptionError(f\"", 'raise RuntimeError(f"'),),
        fails=("wrong-options",),
        says="raises RuntimeError, no OptionError",
    ),
    Fault(
        name="a limit is told in several lines",
        exporter=(
            (
                "        return None\n\n    def export",
                '        return "no\\nroom" if deployable.detection else None\n\n    def export',
            ),
        ),
        fails=("refuses-unsupported",),
        says="unsupported() says 'no\\nroom', which is no line of text",
    ),
    Fault(
        name="the converter's error goes through",
        exporter=(
            ('source: ClassVar[str] = "onnx"', 'source: ClassVar[str] = "deployable"'),
            (
                "        if not isinstance(source, Artifact):",
                "        raise RuntimeError('first\\nsecond')\n        if not isinstance(source, Artifact):",
            ),
        ),
        fails=("unconvertible-layer",),
        says="it raises RuntimeError, which is no error of edgecv: first second",
    ),
    Fault(
        name="a missing folder is made",
        exporter=_before("        path.parent.mkdir(parents=True, exist_ok=True)\n"),
        fails=("missing-folder",),
        says="export() is written all the same",
    ),
    Fault(
        name="the artifact that it starts from is changed",
        exporter=_before("        source.path.write_bytes(source.path.read_bytes() + b'0')\n"),
        fails=("original-unchanged",),
        says="classifier: the artifact that it starts from is another one after the export",
    ),
    Fault(
        name="weights of the original are changed",
        exporter=_before(
            "        for layer in source.deployable.network.layers:\n"
            "            layer.set_weights([values * 1.5 for values in layer.get_weights()])\n"
        ),
        fails=("original-unchanged",),
        says="classifier: the weights of the original are others after the export",
    ),
    Fault(
        name="a log is left beside the artifact",
        exporter=_before("        path.with_suffix('.log').write_text('done')\n"),
        fails=("at-its-name",),
        says="there is more beside the artifact: ",
    ),
    Fault(
        name="importing is heavy",
        exporter=(("import dataclasses\n", "import dataclasses\nimport onnx\n"),),
        fails=("imports-cheaply",),
        says="imports onnx",
    ),
    Fault(
        name="it can be changed after it was checked",
        exporter=(("@dataclass(frozen=True, kw_only=True)", "@dataclass(kw_only=True)"),),
        fails=("loads",),
        says="its dataclass is not frozen",
    ),
    Fault(
        name="it is of another contract",
        exporter=(("api_version: ClassVar[int] = 1", "api_version: ClassVar[int] = 99"),),
        fails=("loads",),
        says="states api_version 99; this edgecv needs 1",
    ),
    Fault(
        name="it has no summary",
        exporter=(('summary: ClassVar[str] = "an ONNX file in a zip"', 'summary: ClassVar[str] = ""'),),
        fails=("describes-itself",),
        says="summary is ''",
    ),
    Fault(
        name="nothing opens it",
        exporter=(('runtime: ClassVar[str] = "', 'runtime: ClassVar[str] = "not-'),),
        fails=("runtime",),
        says="no installed runtime is called 'not-",
    ),
    Fault(
        name="an option has no help",
        exporter=((', metadata={"help": "Compress the model."}', ""),),
        fails=("options-described",),
        says="option 'compress' has no help",
    ),
    Fault(
        name="an option has a name of the command's",
        exporter=(("    compress: bool", "    seed: int = field(default=0)\n    compress: bool"),),
        fails=("options-described",),
        says="option 'seed' would be --seed, which `edgecv export` has already",
    ),
    Fault(
        name="the runtime takes everything for its own",
        runtime=(("    def devices(self)", "    def opens(self, _):\n        return True\n\n    def devices(self)"),),
        fails=("opened-by-its-runtime",),
        says="takes a foreign file",
    ),
    Fault(
        name="checkpoints are not listed",
        exporter=((_RETURN, "        return dataclasses.replace(source, path=path, checkpoints=())"),),
        fails=("checkpoints",),
        says="detector: the artifact lists none",
    ),
    Fault(
        name="optional inputs are not listed",
        exporter=((_RETURN, "        return dataclasses.replace(source, path=path, optional_inputs=())"),),
        fails=("optional-inputs",),
        says="export() lists none, the runner ",
    ),
    Fault(
        name="the runtime asks its engine for metadata",
        runtime=(
            (
                "    def operators(self, path: Path) -> dict[str, int]:",
                "    def operators(self, path):\n        import onnxruntime",
            ),
        ),
        fails=("engine-not-needed",),
        says="onnxruntime is an engine, which is not needed here",
    ),
    Fault(
        name="damage is not caught",
        runtime=((_CONTENT, "    import zipfile\n    content = zipfile.ZipFile(path).read(MODEL)\n"),),
        fails=("damaged-files",),
        says="open() of a file that is empty raises BadZipFile: File is not a zip file",
    ),
    Fault(
        name="damage ends the process",
        runtime=(
            (
                _CONTENT,
                "    import os, zipfile\n    if not zipfile.is_zipfile(path):\n        os.abort()\n" + _CONTENT,
            ),
        ),
        fails=("damaged-files",),
        says="the process died of signal 6 in open on a file empty",
    ),
    Fault(
        name="any device is taken",
        runtime=(("device=device", 'device="cpu"'),),
        fails=("unknown-device",),
        says="device='no-such-device' is taken",
    ),
    Fault(
        name="no threads are taken for the engine's own",
        runtime=(("threads=threads", "threads=threads or None"),),
        fails=("threads",),
        says="threads=0 is taken",
    ),
    Fault(
        name="pictures of another type are cast",
        runtime=_around("        return inner.run({name: np.asarray(each, np.uint8) for name, each in feeds.items()})"),
        fails=("wrong-feeds",),
        says="run() with another type is taken",
    ),
    Fault(
        name="answers lie in one memory",
        runtime=_around(
            """        for name, values in inner.run(feeds).items():
            self.kept.setdefault(name, np.empty_like(values))[...] = values
        return dict(self.kept)"""
        ),
        fails=("own-arrays",),
        says="of an earlier run changes when the next one runs",
    ),
)  # fmt: skip

# A second process has little to do where only classifiers are written, in one precision.
_LITTLE = (
    ('("float32", "float16")', '("float32",)'),
    (
        "        return None\n\n    def export",
        '        return "no" if deployable.checkpoints else None\n\n    def export',
    ),
)
# These are seen in a second process; one plugin may have several, of which each fails a check of its own.
OF_PROCESSES = (
    Fault(
        name="the day stands in the file; it calls home; it leaves notes",
        exporter=(
            *_LITTLE,
            (
                _WRITE,
                """        import contextlib, datetime, socket
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        Path("notes.txt").write_text("done")
        moment = datetime.datetime.now().isoformat().encode()
        write_archive(path, {MODEL: source.path.read_bytes(), "made.txt": moment}, compress=self.compress)
""",
            ),
        ),
        fails=("same-bytes", "no-network", "nothing-beside"),
        says="classifier float32: a second process writes other bytes in the file",
    ),
    Fault(
        name="it writes where it should rename",
        exporter=(
            *_LITTLE,
            (
                _WRITE,
                """        import zipfile
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo(MODEL), source.path.read_bytes())
""",
            ),
        ),
        fails=("full-disk", "killed"),
        says="an error in the middle of writing leaves conformance_classifier",
    ),
)

# All answers are zeros, in every precision.
ALL_ANSWERS = Fault(
    name="all answers are zeros",
    exporter=(
        ('("float32", "float16")', '("float32", "float16", "int8")'),
        (
            "    compress: bool",
            "    calibration: object = None\n    float_layers: tuple[str, ...] = ()\n    compress: bool",
        ),
        (
            'return {"precision": self.precision}',
            'names = ("precision", "calibration", "float_layers") if self.precision == "int8" else ("precision",)\n'
            "        return {name: getattr(self, name) for name in names}",
        ),
    ),
    runtime=_around("        return {name: np.zeros_like(values) for name, values in inner.run(feeds).items()}"),
    fails=(),
    slow=True,
)
