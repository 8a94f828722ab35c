"""What a page is made of: its files, put into a folder for a host, or into one HTML file."""

import base64
import gzip
import html
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv.errors import ConversionError

from edgecv_web.container import (
    EMBEDDED_END,
    EMBEDDED_METADATA,
    INDEX_FILE,
    PAGE_FILE,
    embedded_start,
    html_json,
)

__all__ = ["ENGINE_FILES", "Site", "engine_version", "vendored", "write_folder", "write_single"]

_HERE = Path(__file__).parent
# Each after those that it imports.
_MODULES = (
    "assets.js", "engine.js", "resample.js", "picture.js", "suppress.js", "answers.js", "draw.js", "text.js",
    "results.js", "camera.js", "main.js",
)  # fmt: skip
ENGINE_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm.gz")
_LICENCES = "licences.txt"
# Nothing but its own files: a browser refuses the rest.
_POLICY = (
    "default-src 'none'; script-src {scripts} 'wasm-unsafe-eval' blob:; style-src {styles}; "
    "img-src 'self' blob: data:; connect-src 'self' blob: data:; worker-src 'self' blob:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'"
)
_IMPORT = re.compile(r"^import .*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is particular to one page.

    Attributes:
        title: Its heading.
        model: Name of the ONNX file.
        content: The ONNX file.
        optional: Inputs that the page feeds with defaults: name, dtype, shape and default of each.
        samples: Pictures that it offers: file name → label and content.
    """

    title: str
    model: str
    content: bytes
    optional: list[dict[str, Any]]
    samples: Mapping[str, tuple[str, bytes]]

    def page(self) -> str:
        """Return what the page is told of all this, as JSON."""
        told = {
            "title": self.title,
            "model": self.model,
            "optional": self.optional,
            "samples": [{"file": f"samples/{name}", "label": label} for name, (label, _) in self.samples.items()],
        }
        return json.dumps(told, indent=1)

    def files(self) -> dict[str, bytes]:
        """Return what is fetched while the page runs, by name."""
        return {
            self.model: self.content,
            # As .js: some hosts send .mjs as no JavaScript, and browsers then refuse it.
            **{f"onnxruntime/{name.replace('.mjs', '.js')}": (vendored() / name).read_bytes() for name in ENGINE_FILES},
            **{f"samples/{name}": content for name, (_, content) in self.samples.items()},
            _LICENCES: _licences(),
        }


def vendored() -> Path:
    """Return the folder of what the build took from onnxruntime-web."""
    return _HERE / "vendor"


def engine_version() -> str:
    """Return name and version of the engine that pages run."""
    package = json.loads((vendored() / "package.json").read_text())
    return f"{package['name']} {package['version']}"


def write_folder(site: Site, folder: Path) -> None:
    """Write a page as a folder; metadata come later."""
    (folder / "app").mkdir(parents=True)
    shutil.copyfile(_HERE / "page" / "style.css", folder / "app" / "style.css")
    (folder / "app" / "main.js").write_text(_bundle(), encoding="utf-8")
    for name, content in site.files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / PAGE_FILE).write_text(site.page())
    head = '<link rel="stylesheet" href="app/style.css">'
    script = '<script type="module" src="app/main.js"></script>'
    policy = _POLICY.format(scripts="'self'", styles="'self'")
    (folder / INDEX_FILE).write_text(_index(site, policy, head, script), encoding="utf-8")


def write_single(site: Site, path: Path) -> None:
    """Write a page as one HTML file with a place for metadata."""
    style = (_HERE / "page" / "style.css").read_text(encoding="utf-8")
    policy = _POLICY.format(scripts="'unsafe-inline'", styles="'unsafe-inline'")
    # Markup that a script reads is inside it already when it runs.
    inside = [EMBEDDED_METADATA + EMBEDDED_END]
    inside.append(embedded_start(PAGE_FILE, "application/json") + html_json(site.page()).encode() + EMBEDDED_END)
    for name, content in site.files().items():
        packed = content if name.endswith(".gz") else gzip.compress(content, 9, mtime=0)
        inside.append(embedded_start(name, "text/plain") + base64.b64encode(packed) + EMBEDDED_END)
    script = f'<script type="module">\n{_bundle()}</script>'
    mark = "<!-- assets -->"
    text = _index(site, policy, f"<style>\n{style}</style>", f"{mark}\n{script}")
    begin, end = text.split(mark)
    path.write_bytes(begin.encode() + b"\n".join(inside) + end.encode())


def _index(site: Site, policy: str, head: str, script: str) -> str:
    text = (_HERE / "page" / INDEX_FILE).read_text(encoding="utf-8")
    parts = {
        "title": html.escape(site.title),
        "policy": html.escape(policy, quote=False),
        "head": head,
        "script": script,
    }
    # In one pass: a title may look like another part.
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]], text)


def _bundle() -> str:
    """Return all modules as one: it is one request to a host, and a page from disk may import none."""
    texts = [(_HERE / "page" / name).read_text(encoding="utf-8") for name in _MODULES]
    whole = "\n".join(_EXPORT.sub("", _IMPORT.sub("", text)) for text in texts)
    if "</script" in whole:
        raise ConversionError("A module of the page ends its own script. Install edgecv-web again.")
    return whole


def _licences() -> bytes:
    notices = _HERE / "notices"
    parts = [
        "ONNX Runtime Web, by which the network runs in this page:\n",
        (notices / "LICENSE").read_text(encoding="utf-8"),
        "\nThird parties in ONNX Runtime:\n",
        (notices / "ThirdPartyNotices.txt").read_text(encoding="utf-8"),
        "\nThe sample pictures of edgecv:\n",
        (notices / "samples.txt").read_text(encoding="utf-8"),
    ]
    return "\n".join(parts).encode()
