"""What a bug report has to say of the machine, and how it is said without the names of its folders and its user."""

import contextlib
import getpass
import locale
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.machine import cores, processor

__all__ = ["anonymous", "machine", "surroundings"]

# What engines choose their kernels by, as Linux names it on x86 and on ARM.
_INSTRUCTIONS = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_int8", "neon", "vfpv4", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
_VARIABLES = ("KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "LANG", "LC_ALL", "EDGECV_DEBUG")


def machine() -> dict[str, Any]:
    """Return the processor, its instruction sets, cores, memory and system; None where the system does not say."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "architecture": platform.machine(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "processor": processor(),
        "instruction_sets": _instruction_sets(),
        "cores": cores(),
        "memory_mb": _memory("MemTotal"),
        "memory_available_mb": _memory("MemAvailable"),
    }


def surroundings() -> dict[str, Any]:
    """Return cameras, encodings, folders that can be written, and the variables that change what edgecv does."""
    return {
        "cameras": _cameras(),
        "locale": locale.setlocale(locale.LC_CTYPE),
        "encodings": {
            "output": getattr(sys.stdout, "encoding", None),
            "files": sys.getfilesystemencoding(),
            "text": locale.getpreferredencoding(False),
        },
        "writable": {name: _writable(folder) for name, folder in _folders().items()},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def anonymous(document: Any) -> Any:
    """Return a JSON document without this machine's own names: of the user, of its home and of where edgecv is."""
    return _mapped(document, _replacer())


def _replacer() -> Callable[[str], str]:
    own = Path(__file__).resolve().parents[1]
    packages = Path(np.__file__).parents[1]
    places = {str(own): "<edgecv>", str(packages): "<packages>", sys.prefix: "<python>"}
    with contextlib.suppress(OSError):
        places |= {str(Path.cwd()): "<here>"}
    with contextlib.suppress(RuntimeError):
        places |= {str(Path.home()): "~", os.path.realpath(Path.home()): "~"}
    places = {place: name for place, name in places.items() if len(place) > 1}
    user = _user()
    # Only where it is a part of a path: the name may be a word, such as root.
    named = re.compile(rf"(?<=[/\\]){re.escape(user)}(?=[/\\:'\"\s]|$)") if user else None

    def replace(text: str) -> str:
        for place in sorted(places, key=len, reverse=True):  # the home may hold the others
            text = text.replace(place, places[place])
        return named.sub("~", text) if named else text

    return replace


def _mapped(document: Any, change: Callable[[str], str]) -> Any:
    if isinstance(document, str):
        return change(document)
    if isinstance(document, dict):
        return {change(key): _mapped(value, change) for key, value in document.items()}
    return [_mapped(each, change) for each in document] if isinstance(document, list) else document


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return ""


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:  # not Linux, or a bare one
        return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []


def _instruction_sets() -> list[str] | None:
    for line in _lines("/proc/cpuinfo"):
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            there = set(flags.split())
            return [each for each in _INSTRUCTIONS if each in there]
    return None


def _memory(what: str) -> int | None:
    found = [line.split()[1] for line in _lines("/proc/meminfo") if line.startswith(f"{what}:")]
    return int(found[0]) // 1024 if found else None


def _cameras() -> list[dict[str, Any]]:
    """Return the cameras that ``edgecv predict`` takes, with the driver's name of each and whether it may be opened."""
    found = []
    for device in sorted(Path("/dev").glob("video*")):
        number = device.name.removeprefix("video")
        if number.isdecimal():
            name = "".join(_lines(f"/sys/class/video4linux/{device.name}/name"))
            found.append({"source": f"camera:{number}", "name": name, "readable": os.access(device, os.R_OK)})
    return found


def _folders() -> dict[str, Path]:
    home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
    return {"weights": home, "temporary": Path(tempfile.gettempdir()), "here": Path()}


def _writable(folder: Path) -> bool:
    """Say whether files can be made in a folder, or in the nearest one above that is there."""
    try:
        folder = folder.absolute()
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
