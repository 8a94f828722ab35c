"""Pages in a real browser: nothing is asked of the network, no label runs, nothing is wider than a phone."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecv.html_report.gather import Circumstances, Proof, gather_page
from edgecv.html_report.machine import machine_facts
from edgecv.html_report.render import render

_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# They change the page's title where one of them runs.
_EVIL = (
    "<script>document.title = 'script'</script>",
    '"><img src=x onerror="document.title = \'image\'">',
    "</style></title><svg onload=\"document.title = 'svg'\">",
)
_PHONE = {"width": 390, "height": 844}

pytestmark = [
    pytest.mark.skipif(_BROWSER is None, reason="no Chromium or Chrome on this machine: see `apt install chromium`"),
    # Playwright leaves its pipes to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in the extra [test]")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=_BROWSER, args=list(_QUIET))
        yield opened
        opened.close()


@pytest.fixture
def page(make_proof: Callable[..., Proof], circumstances: Circumstances, tmp_path: Path) -> Path:
    """A page of all kinds of answers, with labels and names that want to run."""
    proofs = []
    for kind in ("classification", "detection", "segmentation"):
        proof = make_proof(kind, labels=_EVIL, off=0.2, nbytes=1_000_000, path=Path(f"{'a' * 80}{_EVIL[1]}.onnx"))
        run = dataclasses.replace(proof.runs[0], names=(*_EVIL, f"/{'long/' * 30}{_EVIL[0]}.jpg"))
        metadata = {**proof.metadata, "model": _EVIL[0]}
        proofs.append(dataclasses.replace(proof, runs=(run,), form=_EVIL[2], metadata=metadata))
    said = dataclasses.replace(circumstances, command=["edgecv", *_EVIL], machine=machine_facts())
    path = tmp_path / "report.html"
    path.write_text(render(gather_page(proofs, said)), encoding="utf-8")
    return path


@pytest.fixture
def requests() -> list[str]:
    """What a page has asked for."""
    return []


@pytest.fixture
def opened(browser: Any, page: Path, requests: list[str]) -> Iterator[Any]:
    """The page on a phone; what its security policy forbids is allowed, so that its text must hold by itself."""
    context = browser.new_context(viewport=_PHONE, bypass_csp=True)
    tab = context.new_page()
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri(), wait_until="networkidle")
    yield tab
    context.close()


def test_a_page_asks_for_itself_alone_and_no_label_runs(opened: Any, page: Path, requests: list[str]) -> None:
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    assert opened.title() == f"Failed: {_EVIL[0]}: {_EVIL[2]}, {_EVIL[2]} and {_EVIL[2]}"
    assert opened.locator("script, iframe, object, embed").count() == 0
    assert _EVIL[0] in opened.locator("h1").inner_text()


def test_nothing_is_wider_than_a_phone(opened: Any) -> None:
    opened.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") == _PHONE["width"]
    # Wide tables move inside their own frames; everything else lies on the screen.
    outside = "all => all.filter(each => !each.closest('.table, .skip') && each.getBoundingClientRect().right > 390.5)"
    assert opened.locator("body *").evaluate_all(f"{outside[:-1]}).map(each => each.outerHTML.slice(0, 80))") == []


def test_all_pictures_are_shown(opened: Any) -> None:
    opened.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    sizes = opened.locator("img").evaluate_all("all => all.map(each => [each.complete, each.naturalWidth])")
    assert sizes
    assert all(complete and width > 0 for complete, width in sizes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(opened: Any, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)
    contrasts = opened.evaluate(_CONTRASTS)
    assert contrasts
    assert [each for each in contrasts if each[0] < 4.5] == []


# The contrast of each text with the nearest background, as WCAG 2.2 defines it: 4.5 is enough to read.
_CONTRASTS = """() => {
  const channels = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const luminance = rgb => {
    const [r, g, b] = rgb.slice(0, 3).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const rgb = channels(getComputedStyle(each).backgroundColor);
      if (rgb.length === 3 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')]
    .filter(each => [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    .filter(each => !['TITLE', 'DESC', 'title', 'desc'].includes(each.tagName))
    .map(each => {
      const style = getComputedStyle(each);
      const ink = channels(each.namespaceURI.endsWith('svg') ? style.fill : style.color);
      const [high, low] = [luminance(ink), luminance(behind(each))].sort((a, b) => b - a);
      return [(high + 0.05) / (low + 0.05), each.tagName, each.className.toString(), each.textContent.slice(0, 40)];
    });
}"""
