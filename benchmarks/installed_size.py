"""What edgecv puts on a device: bytes of its files, and of those that the device's commands load.

    DEVICE/bin/python benchmarks/installed_size.py ARTIFACT PICTURE

`DEVICE` is an environment with `edgecv[tflite]` or `edgecv[onnx]` alone. Bytecode is not counted: Python makes it, and
`pip install --no-compile` leaves it out until then.
"""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

_LOADED = """
import json, sys
from edgecv.cli import cli
try:
    cli.main(sys.argv[2:], prog_name="edgecv")
except SystemExit:
    pass
ours = [module.__file__ for name, module in sys.modules.items() if name.startswith("edgecv")]
open(sys.argv[1], "w").write(json.dumps([name for name in ours if name]))
"""
# Run in a process that the benchmark starts.
_WORKER = ("edgecv/benchmarking/worker.py", "edgecv/runtimes/litert_profile.py", "edgecv/runtimes/onnx_profile.py")


def _loaded(arguments: list[str]) -> set[Path]:
    with tempfile.NamedTemporaryFile("r") as names:
        command = [sys.executable, "-c", _LOADED, names.name, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return {Path(name) for name in json.loads(names.read())}


def _say(what: str, paths: set[Path]) -> None:
    print(f"{what}: {sum(path.stat().st_size for path in paths):,} bytes in {len(paths)} files")


def main() -> None:
    artifact, picture = sys.argv[1:]
    installed = {Path(str(file.locate())).resolve() for file in files("edgecv") or ()}
    installed = {path for path in installed if path.suffix != ".pyc" and path.exists()}
    _say("installed", installed)
    _say("of these not Python", {path for path in installed if path.suffix != ".py"})
    folder = tempfile.mkdtemp()
    loaded = {path for path in installed if path.as_posix().endswith(_WORKER)}
    for arguments in (
        ["predict", artifact, picture, "--save", folder, "--json"],
        ["inspect", artifact],
        ["verify", artifact],
        ["benchmark", artifact, "--seconds", "1"],
        ["doctor"],
        ["list"],
    ):
        loaded |= {path.resolve() for path in _loaded(arguments)}
    streaming = {path for path in installed if path.parent.name == "streaming"}
    _say("loaded by the device's commands", loaded | streaming)


if __name__ == "__main__":
    main()
