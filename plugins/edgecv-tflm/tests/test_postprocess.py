"""What follows the graph, in C, beside edgecv's decoders and greedy suppression."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgecv.decoders import AnchorFree, Ssd, YoloGrid, YoloV3
from edgecv.greedy import greedy
from edgecv.nms import Nms

from edgecv_tflm.compiled import CompiledPostprocess, compile_postprocess, find_compiler
from edgecv_tflm.description import Description, Detection, Output, Tensor
from edgecv_tflm.postprocess import header_text, source_text
from edgecv_tflm.reference import NumpyPostprocess

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")

SIZE = (32, 48)
BYTES = Tensor(shape=(1, *SIZE, 3), dtype="uint8", scale=1.0)
SSD = {
    "feature_maps": ((4, 6), (2, 3)),
    "scales": (0.3, 0.6),
    "aspect_ratios": (1.0, 2.0, 0.5),
    "interpolated_aspect_ratio": 0.0,
}
LISTED = tuple((x / 8, y / 8, 0.1 + x / 16, 0.1 + y / 32) for x in range(1, 8) for y in range(1, 8))


def ints(*shape: int, scale: float = 0.05, zero: int = -7) -> Tensor:
    # As a flatbuffer holds it: a float32.
    return Tensor(shape=shape, dtype="int8", scale=float(np.float32(scale)), zero_point=zero)


def floats(*shape: int) -> Tensor:
    return Tensor(shape=shape, dtype="float32")


def ssd(nms: Nms | None, classes: int = 3, **keys: Any) -> Description:
    decoder = Ssd(**{**({} if "anchors" in keys or "strides" in keys else SSD), **keys})
    anchors = len(decoder.anchor_boxes(SIZE))
    heads = (ints(1, anchors, 4), ints(1, anchors, classes + decoder.background, scale=0.04, zero=20))
    return described(Detection(form="ssd", decoder=decoder, nms=nms, **sizes(anchors, classes)), heads)


def yolo_v3(nms: Nms | None, classes: int = 2) -> Description:
    decoder = YoloV3(anchors=(((8.0, 12.0), (20.0, 9.0)), ((30.0, 20.0),)))
    grids = ((4, 6), (2, 3))
    heads = (floats(1, 4, 6, 2 * (5 + classes)), ints(1, 2, 3, 5 + classes))
    return described(Detection(form="yolo_v3", decoder=decoder, nms=nms, **sizes(54, classes, grids)), heads)


def yolo_grid(nms: Nms | None, activation: Any, classes: int = 3) -> Description:
    decoder = YoloGrid(anchors=((1.0, 1.5), (2.0, 1.0)), activation=activation)
    heads = (ints(1, 4, 6, 10 + classes),)
    return described(Detection(form="yolo_grid", decoder=decoder, nms=nms, **sizes(48, classes, ((4, 6),))), heads)


def decoded(nms: Nms | None, classes: int = 2) -> Description:
    detection = Detection(form="decoded", decoder=AnchorFree(), nms=nms, **sizes(40, classes))
    return described(detection, (floats(1, 40, 4), floats(1, 40, classes)))


def sizes(anchors: int, classes: int, grids: tuple[tuple[int, int], ...] = ()) -> dict[str, Any]:
    return {"input_size": SIZE, "grids": grids, "anchors": anchors, "classes": classes}


def described(detection: Detection, heads: tuple[Tensor, ...]) -> Description:
    return Description(prefix="net", input=BYTES, heads=heads, detection=detection)


DETECTORS = {
    "ssd": ssd(Nms()),
    "softmax": ssd(Nms(score_threshold=0.3, iou_threshold=0.3), activation="softmax"),
    "no background, xywh, one class": ssd(Nms(), classes=1, background=False, order="xywh"),
    "listed anchors": ssd(Nms(iou_threshold=0.45), anchors=LISTED, variances=(0.1, 0.2, 0.3, 0.4)),
    "strides": ssd(Nms(pre_nms_top_k=20), strides=(8, 16, 16), reduce_lowest_layer=True),
    "best class alone": ssd(Nms(multi_label=False)),
    "class-agnostic": ssd(Nms(class_agnostic=True, iou_threshold=0.2)),
    "soft": ssd(Nms(soft_sigma=0.5, score_threshold=0.4)),
    "too many": ssd(Nms(score_threshold=0.0, iou_threshold=1.0, max_detections=3, pre_nms_top_k=7)),
    "none": ssd(Nms(score_threshold=1.0)),
    "every anchor": ssd(None),
    "yolo_v3": yolo_v3(Nms(score_threshold=0.1)),
    "yolo_grid": yolo_grid(Nms(score_threshold=0.1), "softmax"),
    "yolo_grid, sigmoid": yolo_grid(Nms(score_threshold=0.1), "sigmoid"),
    "yolo_grid, one class": yolo_grid(Nms(score_threshold=0.1), "softmax", classes=1),
    "yolo_grid, activated": yolo_grid(Nms(score_threshold=0.1), "none"),
    "decoded": decoded(Nms()),
}


def pictures(description: Description, count: int) -> list[list[Any]]:
    """Make the numbers of the graph's outputs: random ones, few different ones, all the same, all extreme."""
    random = np.random.default_rng(len(description.heads[0].shape))
    found = []
    for index in range(count):
        heads = []
        for head in description.heads:
            if head.dtype == "int8":
                low, high = [(-128, 128), (-8, 8), (20, 60), (-128, -126), (126, 128), (60, 61)][index % 6]
                heads.append(random.integers(low, high, head.shape).astype(np.int8))
            else:
                values = random.normal(0, [1, 4, 0.2][index % 3], head.shape).astype(np.float32)
                values = np.round(values, 1) if index % 2 else values
                heads.append(values)
        found.append(heads)
    if description.heads[0].dtype == "float32":
        bad = [head.astype(np.float32) for head in found[0]]
        bad[0].ravel()[[1, 9, 17, 33]] = [np.nan, np.inf, -np.inf, 1e30]
        bad[-1].ravel()[:3] = [5, 5, 5]
        found.append([values.astype(head.dtype) for values, head in zip(bad, description.heads, strict=True)])
    return found


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Any:
    def compiled(description: Description) -> CompiledPostprocess:
        folder = tmp_path_factory.mktemp("sources")
        write(folder, description)
        found = compile_postprocess(description, folder)
        assert found is not None
        return found

    return compiled


def write(folder: Path, description: Description) -> None:
    (folder / f"{description.prefix}_postprocess.h").write_text(header_text(description))
    (folder / f"{description.prefix}_postprocess.c").write_text(source_text(description))


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_c_decodes_and_suppresses_as_python_does(name: str, build: Any) -> None:
    description = DETECTORS[name]
    detection = description.detection
    assert detection is not None
    ours, theirs = build(description), NumpyPostprocess(description)
    counts = set()
    for heads in pictures(description, 48):
        boxes, scores = ours.decode(heads)
        expected = theirs.decode(heads)
        np.testing.assert_allclose(boxes, expected[0], rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(scores, expected[1], rtol=2e-6, atol=1e-7)
        if detection.nms is None:
            continue
        found, wanted = ours.detect(heads), greedy(boxes[0], scores[0], detection.nms)
        count = int(found["count"][0])
        counts.add(count)
        assert count == len(wanted)
        assert np.array_equal(found["classes"][0, :count], wanted.classes)
        assert np.array_equal(found["boxes"][0, :count], wanted.boxes)
        # What soft suppression leaves goes through an exponential, of which libraries differ in the last digit.
        np.testing.assert_allclose(found["scores"][0, :count], wanted.scores, rtol=2e-6 if "soft" in name else 0)
        assert not any(found[each][0, count:].any() for each in ("boxes", "scores", "classes"))
    if detection.nms is not None:
        assert counts == {0} if name == "none" else max(counts) > 0


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
def test_c_reads_outputs_as_python_does(activation: Any, build: Any) -> None:
    outputs = (
        Output(name="map", symbol="map", activation=activation),
        Output(name="class", symbol="class", activation=activation),
    )
    description = Description(prefix="net", input=BYTES, heads=(ints(1, 3, 2, 5), floats(1, 4)), outputs=outputs)
    ours, theirs = build(description), NumpyPostprocess(description)
    for heads in pictures(description, 12):
        if not np.all(np.isfinite(heads[1])):
            continue
        found, wanted = ours.outputs(heads), theirs.outputs(heads)
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    "name", ["softmax", "best class alone", "class-agnostic", "soft", "yolo_v3", "yolo_grid", "decoded"]
)
def test_the_sources_are_strict_c99_and_cpp(name: str, tmp_path: Path) -> None:
    write(tmp_path, DETECTORS[name])
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-fsyntax-only"]
    for language in (["-std=c99"], ["-x", "c++", "-std=c++11"]):
        subprocess.run([find_compiler(), *language, *strict, "net_postprocess.c"], cwd=tmp_path, check=True)  # type: ignore[list-item]


def test_sources_that_were_changed_are_not_compiled(tmp_path: Path) -> None:
    description = DETECTORS["ssd"]
    write(tmp_path, description)
    assert compile_postprocess(description, tmp_path) is not None
    file = tmp_path / "net_postprocess.c"
    file.write_text(file.read_text() + "/* mine */\n")
    assert compile_postprocess(description, tmp_path) is None


def test_without_a_compiler_nothing_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, DETECTORS["ssd"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compile_postprocess(DETECTORS["ssd"], tmp_path) is None
