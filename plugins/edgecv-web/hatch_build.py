"""Takes onnxruntime-web out of its npm package while the plugin is built, so that no page ever asks a CDN for it.

The package is looked for in this order: what an earlier build took from it; the file that the environment variable
EDGECV_ONNXRUNTIME_WEB names; the user's cache folder; and, by ``npm pack``, the registry that npm is set up with.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE, _VERSION = "onnxruntime-web", "1.30.0"
_SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
# File in the package → name and sha256 of what is kept of it.
_FILES = {
    "package/dist/ort.wasm.bundle.min.mjs": "ort.wasm.bundle.min.mjs",
    "package/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm.gz",
}
_STAMP = "package.json"
_SECONDS = 600


class VendorHook(BuildHookInterface[Any]):  # type: ignore[misc]
    """Fills ``src/edgecv_web/vendor``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Take the files, unless they are there already; for an editable install, too."""
        folder = Path(self.root) / "src" / "edgecv_web" / "vendor"
        if not _is_complete(folder):
            _unpack(_package(), folder)


def _is_complete(folder: Path) -> bool:
    try:
        known = json.loads((folder / _STAMP).read_text())
        return known.get("sha512") == _SHA512 and all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == known["files"][name] for name in _FILES.values()
        )
    except (OSError, ValueError, KeyError):
        return False


def _package() -> Path:
    """Return the npm package as a file."""
    given = os.environ.get("EDGECV_ONNXRUNTIME_WEB")
    if given:
        if not _is_right(Path(given)):
            raise SystemExit(f"EDGECV_ONNXRUNTIME_WEB names {given!r}, which is not {_PACKAGE} {_VERSION}.")
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgecv-web"
    kept = cache / f"{_PACKAGE}-{_VERSION}.tgz"
    if not _is_right(kept):
        _fetch(kept)
    return kept


def _is_right(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest() == _SHA512


def _fetch(kept: Path) -> None:
    """Let npm fetch the package, and put it into the cache once its bytes are known to be the right ones."""
    npm = shutil.which("npm")
    remedy = (
        f"Run: npm pack {_PACKAGE}@{_VERSION} where there is a network, and name that file in EDGECV_ONNXRUNTIME_WEB."
    )
    if npm is None:
        raise SystemExit(f"Building edgecv-web needs {_PACKAGE} {_VERSION}, and npm is not installed. {remedy}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{_PACKAGE}@{_VERSION}", "--silent", "--ignore-scripts", "--pack-destination", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, cwd=folder, check=False)
            problem = (done.stderr.strip().splitlines() or ["npm fails"])[0] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        found = next(Path(folder).glob("*.tgz"), None)
        if problem or found is None:
            raise SystemExit(
                f"Building edgecv-web needs {_PACKAGE} {_VERSION}, which npm cannot fetch: {problem}. {remedy}"
            )
        if not _is_right(found):
            raise SystemExit(
                f"npm gave another {_PACKAGE} {_VERSION} than the pinned one: its sha512 differs. {remedy}"
            )
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copyfile(found, temporary)
        temporary.replace(kept)


def _unpack(package: Path, folder: Path) -> None:
    """Take what a page needs, the wasm compressed: it is 3.7 MB then, whatever the host does."""
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {"name": _PACKAGE, "version": _VERSION, "sha512": _SHA512, "files": {}}
    with tarfile.open(package) as archive:
        for inside, name in _FILES.items():
            file = archive.extractfile(inside)
            if file is None:
                raise SystemExit(f"{package} has no {inside!r} in it.")
            content = file.read()
            if name.endswith(".gz"):
                content = gzip.compress(content, 9, mtime=0)
            (folder / name).write_bytes(content)
            known["files"][name] = hashlib.sha256(content).hexdigest()
    # Last: without it the folder does not count as complete.
    (folder / _STAMP).write_text(json.dumps(known, indent=1) + "\n")
