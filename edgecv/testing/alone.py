"""Small processes of the conformance kit, on the device side: ``python -m edgecv.testing.alone TASK FOLDER …``.

Each prints one JSON document. A task runs in a process of its own because it asks what is imported, forbids imports, or
hands an engine a damaged file.
"""

import importlib.abc
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgecv import registry
from edgecv.errors import one_line

__all__ = ["main"]


def main(task: str, *arguments: str) -> Any:
    """Do a task and return what it found."""
    tasks: dict[str, Callable[..., Any]] = {"imports": _imports, "engineless": _engineless, "damaged": _damaged}
    return tasks[task](*arguments)


def _imports(_: str, exporter: str, runtime: str) -> list[str]:
    """Import a plugin, ask it what a list shows, and return the names of all modules."""
    factory = registry.load_exporter(exporter)
    missing = getattr(factory, "missing", None)
    if missing is not None:
        missing()
    if runtime:
        engine = registry.load_runtime(runtime)
        engine.missing()
        engine.devices()
    return sorted(sys.modules)


def _engineless(_: str, runtime: str, path: str, *blocked: str) -> dict[str, Any]:
    """Look into an artifact while no engine can be imported."""
    sys.meta_path.insert(0, _Blocker(blocked))
    engine = registry.load_runtime(runtime)
    document = engine.read_metadata(Path(path))
    operators = engine.operators(Path(path))
    return {
        "model": document["model"],
        "operators": operators,
        "custom": list(engine.custom_operators(Path(path))),
    }


def _damaged(_: str, runtime: str, *paths: str) -> list[dict[str, Any]]:
    """Open damaged artifacts; say what each raises."""
    engine = registry.load_runtime(runtime)
    told = []
    for path in paths:
        raised: dict[str, Any] = {"path": path}
        for step, call in (("open", engine.open), ("read_metadata", engine.read_metadata)):
            print(json.dumps({"at": path, "step": step}), flush=True)
            try:
                call(Path(path))
            except Exception as error:  # whatever it is, it is the answer
                kinds = [kind.__name__ for kind in type(error).__mro__]
                raised[step] = {"kinds": kinds, "message": str(error), "line": one_line(error)}
        told.append(raised)
    return told


class _Blocker(importlib.abc.MetaPathFinder):
    """Says of some packages that they are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, *_: Any) -> None:
        """Refuse a package."""
        if fullname.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"{fullname} is an engine, which is not needed here", name=fullname)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
