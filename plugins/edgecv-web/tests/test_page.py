"""The page in a real browser, as people use it."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgecv
import numpy as np
import pytest
from edgecv.photos import shipped_photos
from edgecv.testing.cases import CASES
from PIL import Image

# Playwright leaves its pipes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

_PAGE = Path(__file__).parents[1] / "src" / "edgecv_web" / "page"
_EVIL = "<script>document.title = 'script'</script><img src=x onerror=\"document.title = 'image'\">"
_PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real photos: a PNG, a JPEG, one that lies on its side, one in grey; no side is as another."""
    folder = tmp_path_factory.mktemp("photos")
    several = shipped_photos()
    wide = Image.fromarray(several["cat"]).resize((333, 217), Image.Resampling.BICUBIC)
    wide.save(folder / "wide.png")
    Image.fromarray(several["coffee"]).resize((190, 260), Image.Resampling.BICUBIC).save(
        folder / "tall.jpg", quality=92
    )
    turned = Image.Exif()
    turned[0x0112] = 6
    wide.save(folder / "turned.jpg", exif=turned, quality=92)
    Image.fromarray(several["flower"]).convert("L").save(folder / "grey.png")
    return sorted(folder.iterdir())


def until(tab: Any, condition: str) -> None:
    """Wait for a condition; the page's own policy keeps Playwright from evaluating texts in it by itself."""
    end = time.monotonic() + 60
    while not tab.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def answers(tab: Any, photo: Path) -> dict[str, Any]:
    """Give a picture to a page; return what it shows."""
    tab.evaluate("edgecv.shown.answer = null")
    tab.set_input_files("#file", str(photo))
    until(tab, "edgecv.shown.answer !== null || !document.getElementById('problem').hidden")
    assert tab.locator("#problem").is_hidden(), tab.inner_text("#problem")
    found: dict[str, Any] = json.loads(tab.evaluate("JSON.stringify(edgecv.shown.answer)"))
    return found


@pytest.mark.parametrize("filter_name", ["bilinear", "bicubic"])
def test_pictures_are_resized_as_pillow_does_to_the_last_bit(browser: Any, filter_name: str) -> None:
    tab = browser.new_page()
    script = (_PAGE / "resample.js").read_text(encoding="utf-8") + "\nglobalThis.resample = resample;"
    tab.add_script_tag(content=script, type="module")
    until(tab, "typeof globalThis.resample === 'function'")
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
    boxes = [(0, 0, 83, 61), (7.3, 4.8, 51.25, 43.7), (11, 0, 61, 61), (-0.0, 3.3, 83, 50.1)]
    for box in boxes:
        for size in ((24, 24), (160, 97), (83, 61), (83, 20), (5, 61), (200, 24), (60, 10), (60, 20)):
            wanted = Image.fromarray(pixels).resize(
                size, filters[filter_name], (*box[:2], box[0] + box[2], box[1] + box[3])
            )
            given = tab.evaluate(
                """([given, box, size, filter]) =>
                  resample(Uint8Array.fromBase64(given), [83, 61], 3, box, size, filter).toBase64()""",
                [base64.b64encode(pixels.tobytes()).decode(), box, size, filter_name],
            )
            assert base64.b64decode(given) == wanted.tobytes(), (box, size)
    tab.close()


@pytest.mark.parametrize(
    "case",
    [
        "classifier",
        "one-channel",
        "float-input",
        pytest.param("top-k", marks=pytest.mark.slow),
        "detector",
        pytest.param("every-anchor", marks=pytest.mark.slow),
        "segmenter",
        "whole-pictures",
        pytest.param("localiser", marks=pytest.mark.slow),
    ],
)
def test_a_page_answers_as_edgecv_predict_does(
    case: str, page_of: Callable[..., Path], show: Callable[..., Any], photos: list[Path]
) -> None:
    path = page_of(case)
    session, tab = edgecv.load(path), show(path)
    for photo in photos:
        given = answers(tab, photo)
        wanted = session.predict(photo, top_k=5)
        assert [each["number"] for each in given["found"]] == [each["class"] for each in wanted]
        assert [each["label"] for each in given["found"]] == [
            each["label"] or f"class {each['class']}" for each in wanted
        ]
        for one, other in zip(given["found"], wanted, strict=True):
            if given["kind"] == "mask":
                assert one["pixels"] == other["pixels"]
            else:
                assert one["score"] == pytest.approx(other["score"], abs=1e-5)
            if given["kind"] == "boxes":
                assert one["box"] == pytest.approx(other["box"], abs=1e-4 * max(Image.open(photo).size))


def test_a_threshold_takes_effect_and_can_be_undone(
    page_of: Callable[..., Path], show: Callable[..., Any], photos: list[Path]
) -> None:
    tab = show(page_of("detector"))
    before = len(answers(tab, photos[0])["found"])
    assert before
    tab.evaluate("edgecv.shown.answer = null")
    tab.locator("#range").fill("0.95")
    until(tab, "edgecv.shown.answer !== null")
    assert tab.inner_text("#range-value") == "0.95"
    assert tab.evaluate("edgecv.shown.answer.found.length") < before
    assert tab.inner_text("#summary") == "Nothing is above the threshold."


@pytest.mark.parametrize("single", [False, True], ids=["folder", "file"])
def test_a_page_asks_for_its_own_files_alone(
    single: bool, page_of: Callable[..., Path], show: Callable[..., Any], photos: list[Path]
) -> None:
    asked: list[str] = []
    path = page_of("classifier", single_file=single)
    tab = show(path, asked=asked)
    answers(tab, photos[0])
    own = tab.url
    foreign = [url for url in asked if not url.startswith((own, "data:", "blob:"))]
    assert foreign == []
    if single:
        assert [url for url in asked if url.startswith("file:")] == [own]
        return
    files = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    wanted = {url.removeprefix(own) or "index.html" for url in asked if url.startswith(own)}
    assert wanted <= files
    assert files - wanted == {"licences.txt"}  # asked for by whoever wants to read them


def test_no_label_title_or_file_name_becomes_markup(
    show: Callable[..., Any], tmp_path: Path, photos: list[Path]
) -> None:
    network = CASES["classifier"].network()
    labels = [_EVIL, "</style>", "&amp;", "</script><svg onload=alert(1)>", "e"]
    deployable = edgecv.deploy(network, labels=labels, name="evil")
    path = edgecv.export(
        deployable, to="web", path=tmp_path / "x.html", verify=False, single_file=True, title=_EVIL
    ).path
    tab = show(path)
    assert tab.title() == _EVIL
    assert tab.inner_text("#title") == _EVIL
    answers(tab, photos[0])
    assert set(tab.locator("#answers .label").all_inner_texts()) == set(labels)
    odd = tmp_path / "<img src=x onerror=alert(1)>.png"
    odd.write_bytes(b"no picture")
    tab.set_input_files("#file", str(odd))
    tab.wait_for_selector("#problem:visible")
    assert tab.inner_text("#problem") == (
        f"“{odd.name}” is no picture that this browser can read. Try a JPEG, PNG or WebP file."
    )
    assert tab.title() == _EVIL
    assert tab.locator("main img[src=x]").count() == 0


def test_what_a_browser_lacks_is_said_in_a_sentence(page_of: Callable[..., Path], show: Callable[..., Any]) -> None:
    tab = show(page_of("classifier"), before="delete globalThis.WebAssembly", works=False)
    assert tab.inner_text("#problem") == (
        "This browser has no WebAssembly, or it is turned off: the network cannot run here. Try a current one."
    )
    assert tab.locator("#busy").is_hidden()


def test_the_camera_is_refused_or_shows_its_latest_frame(
    page_of: Callable[..., Path], show: Callable[..., Any]
) -> None:
    refused = show(page_of("classifier"))
    refused.click("#camera")
    refused.wait_for_selector("#problem:visible")
    assert refused.inner_text("#problem") == (
        "The camera may not be used: this browser or a person refused it. Allow it in the address bar, and try again."
    )
    tab = show(page_of("classifier"), permissions=["camera"])
    tab.click("#camera")
    until(tab, "edgecv.shown.turn > 3")
    assert tab.inner_text("#camera") == "Stop the camera"
    assert tab.locator("#answers li").count() == 5
    tab.click("#camera")
    tab.wait_for_timeout(300)
    turn = tab.evaluate("edgecv.shown.turn")
    tab.wait_for_timeout(300)
    assert tab.evaluate("edgecv.shown.turn") == turn
    assert tab.inner_text("#camera") == "Use the camera"


def test_a_page_works_by_keyboard_on_a_phone(page_of: Callable[..., Path], show: Callable[..., Any]) -> None:
    tab = show(page_of("detector"), viewport=_PHONE, color_scheme="dark", reduced_motion="reduce")
    reached = []
    for _ in range(8):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.id || document.activeElement.querySelector('img')?.alt"))
        if reached[-1] == "Sample: cat":
            break
    assert reached == [None, "choose", "camera", "Sample: astronaut", "Sample: cat"]
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("Enter")
    until(tab, "edgecv.shown.answer !== null")
    tab.wait_for_selector("#latency:visible")
    assert tab.evaluate("document.documentElement.scrollWidth") == _PHONE["width"]
    assert tab.get_attribute("#spoken", "aria-live") == "polite"
    assert tab.text_content("#spoken") == tab.inner_text("#summary")
    assert tab.inner_text("#summary") in tab.get_attribute("#canvases", "aria-label")


def test_a_picture_can_be_dropped_and_pasted(
    page_of: Callable[..., Path], show: Callable[..., Any], photos: list[Path]
) -> None:
    tab = show(page_of("classifier"))
    content = list((photos[0]).read_bytes())
    for event in ("drop", "paste"):
        tab.evaluate("edgecv.shown.answer = null")
        tab.evaluate(
            """([content, event]) => {
              const data = new DataTransfer();
              data.items.add(new File([Uint8Array.from(content)], "x.png", {type: "image/png"}));
              const made = event === "drop" ? new DragEvent("drop", {dataTransfer: data, bubbles: true})
                : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
              document.getElementById("frame").dispatchEvent(made);
            }""",
            [content, event],
        )
        until(tab, "edgecv.shown.answer !== null")


def test_a_folder_opened_from_disk_says_what_to_do(page_of: Callable[..., Path], browser: Any) -> None:
    # Its script does not even load there: what stands in the page without it has to be enough.
    tab = browser.new_page()
    tab.goto((page_of("classifier") / "index.html").as_uri())
    assert "python -m http.server" in tab.text_content("#facts")
    tab.close()
