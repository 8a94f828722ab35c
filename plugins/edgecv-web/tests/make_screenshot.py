"""Makes docs/web.png: `python plugins/edgecv-web/tests/make_screenshot.py`.

A wide window with digits that ssd_tiny finds, and a phone with a person that selfie_segmentation finds. The plugins
with these weights, scikit-image for its photo, Playwright and a Chromium are needed.
"""

import contextlib
import functools
import http.server
import io
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import edgecv
from PIL import Image

from edgecv_web.browser import browser_path

_ROOT = Path(__file__).parents[3]
_SCENE = _ROOT / "plugins" / "edgecv-weights-ssd-tiny" / "scenes" / "scene_11.png"
_WINDOWS: tuple[dict[str, Any], ...] = (
    {"viewport": {"width": 1280, "height": 830}, "color_scheme": "light", "device_scale_factor": 1.0},
    {"viewport": {"width": 390, "height": 830}, "color_scheme": "dark", "device_scale_factor": 1.0},
)
_GAP = 24


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name is http.server's
        pass


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def main() -> None:
    """Export, show, and put the pictures side by side."""
    import skimage
    from playwright.sync_api import sync_playwright

    astronaut = Path(skimage.__file__).parent / "data" / "astronaut.png"
    shown = (("ssd_tiny", _SCENE, (str(_SCENE),)), ("selfie_segmentation", astronaut, ()))
    pictures = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        for (name, photo, sample), window in zip(shown, _WINDOWS, strict=True):
            deployable = edgecv.deploy(edgecv.build(name))
            path = edgecv.export(deployable, to="web", path=Path(folder) / name, sample=sample).path
            with _served(path) as address:
                tab = browser.new_page(**window)
                tab.goto(address)
                tab.wait_for_selector("#choose:enabled")
                tab.set_input_files("#file", str(photo))
                tab.wait_for_selector("#latency:visible")
                tab.wait_for_selector("#busy", state="hidden")
                pictures.append(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))
        browser.close()
    width = sum(each.width for each in pictures) + _GAP
    whole = Image.new("RGB", (width, pictures[0].height), "#8a94a1")
    whole.paste(pictures[0], (0, 0))
    whole.paste(pictures[1], (pictures[0].width + _GAP, 0))
    whole.save(_ROOT / "docs" / "web.png", optimize=True)


if __name__ == "__main__":
    main()
