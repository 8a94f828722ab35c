"""What an exporter says of itself, and what its options do."""

import dataclasses
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgecv.comparison import TOLERANCES
from edgecv.errors import EdgecvError, OptionError, one_line
from edgecv.exporter import Precision
from edgecv.exporting import make_exporter, runtime_of_exporter
from edgecv.extras import why_missing
from edgecv.plugin_options import PluginOption, plugin_options
from edgecv.registry import exporter_names
from edgecv.testing.bench import start
from edgecv.testing.check import Check, FailedError, SkippedError, demand
from edgecv.testing.second import bytes_of

if TYPE_CHECKING:
    from edgecv.testing.bench import Bench

__all__ = ["CHECKS", "HEAVY", "engines_of"]

_GROUP = "Itself"
# Frameworks, converters and engines: what nobody may import before there is something to do.
HEAVY = (
    "tensorflow", "keras", "torch", "jax", "onnx", "tf2onnx", "onnxruntime", "onnxscript", "ai_edge_litert",
    "ai_edge_quantizer", "tflite_runtime", "openvino", "coremltools", "tensorrt", "ncnn", "scipy", "pandas",
    "matplotlib", "cv2",
)  # fmt: skip
# Other packages with more modules than that are no small thing.
_MANY_MODULES = 60
_LIGHT = ("edgecv", "numpy", "PIL", "click", "rich", "pygments", "markdown_it", "mdurl")


def _loads(bench: "Bench") -> None:
    factory: Any = bench.factory  # raises the error that says why
    demand(dataclasses.is_dataclass(factory), "it is no dataclass")
    parameters = factory.__dataclass_params__
    demand(parameters.frozen, "its dataclass is not frozen, so that its options can change after they were checked")
    positional = [field.name for field in dataclasses.fields(factory) if field.init and not field.kw_only]
    demand(not positional, f"its option {positional[:1]} can be given without its name")
    missing = why_missing(factory)
    demand(missing is None, f"it cannot run here: {missing}")
    bench.exporter()


def _describes_itself(bench: "Bench") -> None:
    factory: Any = bench.factory
    summary, suffix, precisions = factory.summary, factory.suffix, factory.precisions
    demand(isinstance(summary, str) and summary.strip() and "\n" not in summary, f"summary is {summary!r}")
    demand(isinstance(suffix, str) and (not suffix or _is_suffix(suffix)), f"suffix is {suffix!r}")
    known = get_args(Precision)
    demand(isinstance(precisions, tuple) and precisions, f"precisions is {precisions!r}")
    unknown = [each for each in precisions if each not in known]
    demand(not unknown, f"precisions has {unknown[:1]}, which is none of {', '.join(known)}")
    demand(factory.source in ("deployable", *exporter_names()), f"source is {factory.source!r}")
    demand(factory.source != bench.name, "it starts from itself")
    tolerances = getattr(factory, "tolerances", {})
    for precision, value in dict(tolerances).items():
        demand(precision in TOLERANCES, f"tolerances has {precision!r}, which is none of {', '.join(TOLERANCES)}")
        demand(isinstance(value, float) and value > 0, f"tolerances[{precision!r}] is {value!r}")


def _is_suffix(suffix: str) -> bool:
    return suffix.startswith(".") and len(suffix) > 1 and suffix == suffix.lower() and not set(suffix) & set("/\\ \n")


def _imports_cheaply(bench: "Bench") -> None:
    found = runtime_of_exporter(bench.exporter())
    process = start("alone", "imports", str(bench.folder), bench.name, found[0] if found else "")
    output, errors = process.communicate(timeout=120)
    demand(process.returncode == 0, f"importing it in a fresh process fails: {' '.join(errors.split())[-200:]}")
    modules = json.loads(output.splitlines()[-1])
    counts: dict[str, int] = {}
    for module in modules:
        top = module.partition(".")[0]
        counts[top] = counts.get(top, 0) + 1
    own = {bench.factory.__module__.partition(".")[0]}
    others = [top for top in counts if top not in sys.stdlib_module_names and top not in own and top not in _LIGHT]
    heavy = {*HEAVY, *engines_of(bench)} - own
    found_heavy = [top for top in others if top in heavy or counts[top] > _MANY_MODULES]
    demand(not found_heavy, f"importing it, or asking whether it can run, imports {', '.join(sorted(found_heavy))}")


def engines_of(bench: "Bench") -> list[str]:
    """Return the modules of what an exporter converts with and its runtime runs in."""
    exporters = [bench.exporter(precision) for precision in bench.factory.precisions]
    found = runtime_of_exporter(exporters[0])
    named = {each for exporter in exporters for each in getattr(exporter, "converters", ())}
    named |= set(getattr(found[1], "engines", ()) if found else ())
    by_module = importlib.metadata.packages_distributions()
    return sorted(module for module, owners in by_module.items() if named & set(owners) and module not in _LIGHT)


def _options_described(bench: "Bench") -> None:
    from edgecv.cli.export import export

    taken = {flag for parameter in export.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for option in plugin_options(bench.factory):
        field = bench.factory.__dataclass_fields__[option.name]  # type: ignore[attr-defined]
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        demand(optional, f"option {option.name!r} has no default")
        flag = f"--{option.name.replace('_', '-')}"
        demand(flag not in taken, f"option {option.name!r} would be {flag}, which `edgecv export` has already")
        demand(option.help.strip(), f"option {option.name!r} has no help")


def _options_honoured(bench: "Bench") -> None:
    options = plugin_options(bench.factory)
    tried = {option.name: _others(bench, option) for option in options}
    silent = [name for name, values in tried.items() if values is None]
    for name in silent:
        demand(_says_so(bench, name), f"nothing says what to try for option {name!r}")
    if all(values is None for values in tried.values()):
        raise SkippedError("it has no option" if not options else "it says that no option shows in the artifact")
    for name, values in tried.items():
        if values is not None:
            demand(_shows(bench, name, values), f"option {name!r} changes nothing: {values[0]!r} gives the same bytes")


def _says_so(bench: "Bench", name: str) -> bool:
    """Tell whether an option's author says that it does not show in an artifact."""
    metadata = bench.factory.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    return "example" in metadata and metadata["example"] is None


def _others(bench: "Bench", option: PluginOption) -> list[Any] | None:
    """Return values of an option that are not its default; None where nobody says which there are."""
    metadata = bench.factory.__dataclass_fields__[option.name].metadata  # type: ignore[attr-defined]
    if "example" in metadata:
        return None if metadata["example"] is None else [metadata["example"]]
    if option.many:
        return None
    if option.kind is bool:
        return [not option.default]
    return [choice for choice in option.choices if choice != option.default] or None


def _shows(bench: "Bench", name: str, values: list[Any]) -> bool:
    """Tell whether a value changes the artifact of any network."""
    for case in ("classifier", "dynamic-batch", "detector", "segmenter"):
        try:
            bench.artifact(case)
        except SkippedError:
            continue
        plain = _bytes(bench, case, {})
        if all(_bytes(bench, case, {name: value}) != plain for value in values):
            return True
    return False


def _bytes(bench: "Bench", case: str, options: dict[str, Any]) -> dict[str, str]:
    exporter = bench.exporter(**options)
    path = bench.new_folder("options") / f"artifact{exporter.suffix}"
    bench.direct(case, path, exporter)
    return bytes_of(path)


def _precision_honoured(bench: "Bench") -> None:
    others = [each for each in bench.factory.precisions if each != bench.base]
    if not others:
        raise SkippedError(f"it writes {bench.base} alone")
    for precision in others:
        try:
            case = bench.simplest
            artifact, plain = bench.artifact(case, precision), bench.artifact(case)
        except SkippedError as error:
            raise SkippedError(f"{precision}: {error}") from error
        document = bench.document(case)
        bare = [_with_metadata(bench, each.path, document) for each in (artifact, plain)]
        demand(bare[0] != bare[1], f"{precision} gives the same bytes as {bench.base}")


def _with_metadata(bench: "Bench", path: Path, document: dict[str, Any]) -> list[str]:
    """Return the sums of an artifact's files under other metadata, whatever the files are called."""
    copy = bench.copy(path)
    bench.runtime[1].write_metadata(copy, document)
    return sorted(bytes_of(copy).values())


def _wrong_options(bench: "Bench") -> None:
    wrong: dict[str, dict[str, Any]] = {"no_such_option=1": {"no_such_option": 1}}
    undeclared = [each for each in get_args(Precision) if each not in bench.factory.precisions]
    wrong |= {f"precision={each!r}": {"precision": each} for each in (*undeclared, "no-such-precision")}
    choices = [option.name for option in plugin_options(bench.factory) if option.choices]
    wrong |= {f"{name}='no such choice'": {name: "no such choice"} for name in choices}
    fields = getattr(bench.factory, "__dataclass_fields__", {})
    if "int8" in bench.factory.precisions and "calibration" in fields:
        wrong["precision='int8' without calibration"] = {"precision": "int8"}
    for given, options in wrong.items():
        try:
            make_exporter(bench.name, options)
        except OptionError as error:
            demand("\n" not in str(error), f"{given} is refused in several lines: {one_line(error)}")
        except EdgecvError as error:
            raise FailedError(f"{given} raises {type(error).__name__}: {one_line(error)}") from error
        except Exception as error:
            raise FailedError(f"{given} raises {type(error).__name__}, no OptionError: {one_line(error)}") from error
        else:
            raise FailedError(f"{given} is taken")


def _runtime(bench: "Bench") -> None:
    exporter = bench.exporter()
    found = runtime_of_exporter(exporter)
    named = getattr(exporter, "runtime", None)
    demand(
        found is not None, f"no installed runtime {f'is called {named!r}' if named else f'opens {exporter.suffix!r}'}"
    )
    name, runtime = found  # type: ignore[misc]
    demand(exporter.suffix in runtime.suffixes, f"runtime {name!r} opens {runtime.suffixes!r}, not {exporter.suffix!r}")
    demand(isinstance(runtime.summary, str) and runtime.summary.strip(), f"runtime {name!r} has no summary")
    bench.must_run()
    missing = why_missing(runtime)
    demand(missing is None, f"runtime {name!r} cannot run here: {missing}")
    devices = runtime.devices()
    demand(devices and devices[0] == "cpu", f"runtime {name!r} has the devices {devices!r}, where cpu goes first")


CHECKS = (
    Check(
        name="loads",
        group=_GROUP,
        demands="Its entry point gives a frozen, keyword-only dataclass for this version of the contract.",
        remedy="Write `@dataclass(frozen=True, kw_only=True)` above the class, state `api_version`, and look at the "
        "entry point in pyproject.toml; install again after a change of it.",
        run=_loads,
    ),
    Check(
        name="describes-itself",
        group=_GROUP,
        demands="summary, suffix, precisions, source and tolerances are what the contract says.",
        remedy="Correct the class attribute that is named; edgecv/exporter.py says what each may be.",
        run=_describes_itself,
    ),
    Check(
        name="imports-cheaply",
        group=_GROUP,
        demands="Importing exporter and runtime, and asking what they need, imports no framework, converter or engine.",
        remedy="Move that import into export() or open(); look for packages with importlib.util.find_spec.",
        run=_imports_cheaply,
    ),
    Check(
        name="runtime",
        group=_GROUP,
        demands="An installed runtime opens what it writes, and runs here.",
        remedy="Offer a Runtime in the entry-point group edgecv.runtimes, with the suffix in its suffixes, or name one "
        "as the attribute `runtime`; install its engine.",
        run=_runtime,
    ),
    Check(
        name="options-described",
        group=_GROUP,
        demands="Every option has a default and a help text, and none has a name that `edgecv export` uses.",
        remedy='Write `field(default=…, metadata={"help": "What it does."})`, and rename what clashes.',
        run=_options_described,
    ),
    Check(
        name="options-honoured",
        group=_GROUP,
        demands="Another value of an option changes the bytes of an artifact.",
        remedy='Use the field in export(), or delete it. Say what to try with `field(metadata={"example": value})`; '
        "None says that the option does not show in the artifact.",
        run=_options_honoured,
    ),
    Check(
        name="precisions-honoured",
        group=_GROUP,
        demands="Each precision gives other bytes than the first.",
        remedy="Convert in the precision that `self.precision` says, or take it out of `precisions`.",
        run=_precision_honoured,
    ),
    Check(
        name="wrong-options",
        group=_GROUP,
        demands="Unknown options, precisions that it does not declare, wrong choices and int8 without calibration are "
        "refused with an OptionError in one line.",
        remedy="Check the fields in __post_init__ and raise edgecv.errors.OptionError: what is wrong, what to do.",
        run=_wrong_options,
    ),
)
