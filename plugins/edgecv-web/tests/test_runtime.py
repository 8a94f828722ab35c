"""Exporter and runtime beside what the conformance kit asks of all: ONNX Runtime's answers, single files, failures."""

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import edgecv
import numpy as np
import pytest
from click.testing import CliRunner
from edgecv.cli import cli
from edgecv.errors import ArtifactError, MissingExtraError, OptionError, PictureError
from edgecv.exporting import make_exporter
from edgecv.photos import shipped_photos
from edgecv.runtimes.onnxruntime import OnnxRuntime
from edgecv.session import runtime_of
from edgecv.testing.cases import CASES
from PIL import Image

from edgecv_web import browser as browsers
from edgecv_web.container import model_file
from edgecv_web.runtime import WebRuntime

RUNTIME = WebRuntime()


@pytest.mark.parametrize("single", [False, True], ids=["folder", "file"])
def test_a_page_answers_as_onnx_runtime_does(single: bool, page_of: Callable[..., Path], tmp_path: Path) -> None:
    path = page_of("detector", single_file=single)
    native = edgecv.export(CASES["detector"].deploy(), to="onnx", path=tmp_path / "x.onnx", verify=False).path
    pages, originals = RUNTIME.open(path), OnnxRuntime().open(native)
    height, width = pages.inputs[0].shape[1:3]
    assert {info.name for info in pages.optional_inputs} == {"score_threshold", "iou_threshold"}
    found = 0
    for photo in shipped_photos().values():
        image = np.asarray(Image.fromarray(photo).resize((width or 0, height or 0)))[None]
        for more in ({}, {"score_threshold": np.array(0.4, np.float32), "iou_threshold": np.array(0.2, np.float32)}):
            given, wanted = (runner.run({"image": image, **more}) for runner in (pages, originals))
            assert np.array_equal(given["count"], wanted["count"])
            assert np.array_equal(given["classes"], wanted["classes"])
            assert np.abs(given["scores"] - wanted["scores"]).max() <= 1e-5
            assert np.abs((given["boxes"] - wanted["boxes"]) * max(height or 0, width or 0)).max() <= 1e-4
            found += int(wanted["count"][0])
    assert found > 10


def test_a_single_file_is_an_artifact_like_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(shipped_photos()["cat"]).save("cat.png")

    def run(*command: str) -> Any:
        done = CliRunner().invoke(cli, list(command))
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    exported = run("export", "lenet5", "--weights", "random", "--to", "web", "--single-file", "-o", "x.html", "--json")
    (artifact,) = exported["artifacts"]
    assert artifact["verification"]["passed"]
    assert [each.name for each in Path().glob("*.html")] == ["x.html"]
    assert Path("x.html").stat().st_size < 6_000_000
    assert run("verify", "x.html", "--json")["passed"]
    assert len(run("predict", "x.html", "cat.png", "--json")[0]["results"]) == 5
    assert run("inspect", "x.html", "--json")["ops"]["Conv"] > 0
    content = bytearray(Path("x.html").read_bytes())
    content[len(content) // 2] ^= 1
    Path("x.html").write_bytes(content)
    done = CliRunner().invoke(cli, ["predict", "x.html", "cat.png"])
    assert done.exit_code == 2
    assert "its digest disagrees" in done.output


def test_another_html_file_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<!doctype html><title>A report</title>")
    message = r"^'.*report.html' has no edgecv metadata: it is cut or edgecv did not write it. Export it again.$"
    with pytest.raises(ArtifactError, match=message):
        edgecv.load(tmp_path / "report.html")
    assert runtime_of(tmp_path / "report.html")[0] == "web"


def test_threads_are_the_folder_s_alone(page_of: Callable[..., Path]) -> None:
    path = page_of("classifier")
    assert RUNTIME.open(path).provider == "WebAssembly, 1 thread"
    assert RUNTIME.open(path, threads=2).provider == "WebAssembly, 2 threads"
    with pytest.raises(
        OptionError, match=r"^A page of one file runs on one thread, got 2. Export a folder, or leave .*$"
    ):
        RUNTIME.open(page_of("classifier", single_file=True), threads=2)


def test_a_page_s_onnx_file_has_no_metadata_of_its_own(page_of: Callable[..., Path]) -> None:
    with model_file(page_of("detector", single_file=True)) as unpacked:
        assert b"edgecv_version" not in unpacked.read_bytes()
        assert unpacked.read_bytes() == (page_of("detector") / unpacked.name).read_bytes()
    assert not unpacked.exists()


def test_several_threads_ask_at_the_same_time(page_of: Callable[..., Path]) -> None:
    runner = RUNTIME.open(page_of("classifier"))
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 24, 24, 3), np.uint8)
    alone = [runner.run({"image": image})["probabilities"] for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: runner.run({"image": image})["probabilities"], images))
        opened = list(pool.map(lambda _: RUNTIME.open(page_of("classifier")).run({"image": images[0]}), range(3)))
    assert np.array_equal(alone, together)
    assert all(np.array_equal(each["probabilities"], alone[0]) for each in opened)


def run_until_it_fails(runner: Any) -> None:
    for _ in range(100):
        runner.run({"image": np.zeros((1, 24, 24, 3), np.uint8)})
        time.sleep(0.05)


def test_a_crash_is_an_error_in_one_line_and_the_next_page_opens(page_of: Callable[..., Path]) -> None:
    path = page_of("classifier")
    feeds = {"image": np.zeros((1, 24, 24, 3), np.uint8)}
    message = r"^'.*' fails in the browser: [^\n]*(crashed|has ended)[^\n]*. Export it again.$"
    runner = RUNTIME.open(path)
    runner._tab.chromium.send("Page.crash", session=runner._tab.session)
    with pytest.raises(ArtifactError, match=message):
        run_until_it_fails(runner)
    runner = RUNTIME.open(path)
    runner.run(feeds)
    os.kill(runner._tab.chromium._process.pid, signal.SIGKILL)
    with pytest.raises(ArtifactError, match=message):
        run_until_it_fails(runner)
    RUNTIME.open(path).run(feeds)


def test_a_lost_chromium_leaves_no_folder(page_of: Callable[..., Path]) -> None:
    RUNTIME.open(page_of("classifier"))
    first = browsers._shared
    assert first is not None
    profile = first._profile
    assert profile.is_dir()
    first.close()
    assert not profile.exists()
    RUNTIME.open(page_of("classifier"))
    assert browsers._shared is not first


def test_no_browser_is_said_with_the_remedy(page_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = page_of("classifier")
    monkeypatch.setenv("EDGECV_CHROMIUM", "/no/such/browser")
    remedy = "Install one, such as by: apt install chromium; or name it in EDGECV_CHROMIUM"
    assert RUNTIME.missing() == f"No Chromium or Chrome is on PATH. {remedy}"
    assert RUNTIME.devices() == ()
    with pytest.raises(MissingExtraError, match=rf"^Running a page needs a browser: no Chromium .* PATH. {remedy}.$"):
        RUNTIME.open(path)
    # Metadata and operators need none.
    assert RUNTIME.read_metadata(edgecv_sealed(path))["model"] == "conformance_classifier"
    assert RUNTIME.operators(path)["Conv"] > 0


def edgecv_sealed(path: Path) -> Path:
    assert (path / "edgecv.json").is_file()
    return path


def test_what_does_not_start_is_no_browser(tmp_path: Path) -> None:
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\nexit 3\n")
    fake.chmod(0o755)
    with pytest.raises(browsers.BrowserError, match=r"^'.*chromium' does not start: Chromium has ended. Try it by .*$"):
        browsers.Chromium(str(fake))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "web writes float32, float16, int8, not 'int4'."),
        ({"precision": "int8"}, "web in int8 needs real pictures to calibrate on. Give --calibration DIR."),
        ({"title": "a\nb"}, r"title must be a line of at most 200 characters, got 'a\\nb'."),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}$"):
        make_exporter("web", options)


def test_samples_are_the_user_s(tmp_path: Path) -> None:
    Image.new("RGB", (1200, 700), "red").save(tmp_path / "my_red <b>.jpg")
    path = edgecv.export(
        CASES["classifier"].deploy(),
        to="web",
        path=tmp_path / "site",
        verify=False,
        sample=(str(tmp_path / "my_red <b>.jpg"),),
    ).path
    assert json.loads((path / "page.json").read_text())["samples"] == [{"file": "samples/1.png", "label": "my red b"}]
    with Image.open(path / "samples" / "1.png") as sample:
        assert sample.size == (512, 299)
    with pytest.raises(PictureError, match=r"^Picture 'none.png' does not exist. Name a picture, a folder or a glob.$"):
        edgecv.export(CASES["classifier"].deploy(), to="web", path=tmp_path / "x", verify=False, sample=("none.png",))
    assert not (tmp_path / "x").exists()
