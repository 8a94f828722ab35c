"""COCO's twelve figures are those that pycocotools gives for the files."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.errors import MissingExtraError
from edgecv.evaluation.coco import FIGURES, coco_figures
from edgecv.evaluation.scenes import Found, Scene, Truth

MakeScenes = Callable[..., list[Scene]]


def reference(scenes: list[Scene], categories: list[int], folder: Path) -> Any:
    """Let pycocotools read files, as its demonstration does."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    instances: dict[str, Any] = {
        "images": [{"id": scene.image, "width": 500, "height": 500, "file_name": "x"} for scene in scenes],
        "categories": [{"id": category, "name": f"class {category}"} for category in categories],
        "annotations": [
            {
                "id": int(number),
                "image_id": scene.image,
                "category_id": int(category),
                "bbox": box.tolist(),
                "area": float(area),
                "iscrowd": int(crowd),
            }
            for scene in scenes
            for number, category, box, area, crowd in zip(
                scene.truth.ids,
                scene.truth.categories,
                scene.truth.boxes,
                scene.truth.areas,
                scene.truth.crowd,
                strict=True,
            )
        ],
    }
    results = [
        {"image_id": scene.image, "category_id": int(category), "bbox": box.tolist(), "score": float(score)}
        for scene in scenes
        for category, box, score in zip(scene.found.categories, scene.found.boxes, scene.found.scores, strict=True)
    ]
    (folder / "instances.json").write_text(json.dumps(instances))
    (folder / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "instances.json"))
        evaluator = COCOeval(truth, truth.loadRes(str(folder / "results.json")), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (0, {}),
        (1, {"crowds": True}),
        (2, {"crowds": True, "most": 14, "classes": 1, "strays": 200}),  # more than 100 on a picture
        (3, {"crowds": True, "pictures": 30, "classes": 6}),
        (4, {"most": 1, "pictures": 5}),
    ],
)
def test_the_twelve_figures_are_those_of_pycocotools(
    seed: int, options: dict[str, Any], make_scenes: MakeScenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = make_scenes(seed, **options)
    categories = list(range(options.get("classes", 3)))
    assert any(not len(scene.truth.boxes) for scene in scenes)
    figures = coco_figures(scenes, categories).overall
    assert capsys.readouterr().out == ""
    given = np.array([-1.0 if figures[name] is None else figures[name] for name in FIGURES], np.float64)
    np.testing.assert_allclose(given, reference(scenes, categories, tmp_path), atol=1e-6, rtol=0)
    assert max(len(scene.found.boxes) for scene in scenes) > 100 or seed != 2


def test_a_perfect_detector_has_one_everywhere(make_scenes: MakeScenes) -> None:
    scenes = [
        replace(
            scene,
            found=Found(
                boxes=scene.truth.boxes,
                categories=scene.truth.categories,
                scores=np.full(len(scene.truth.boxes), 0.9),
            ),
        )
        for scene in make_scenes(0)
    ]
    result = coco_figures(scenes, [0, 1, 2])
    for name in ("AP", "AP50", "AP75", "AR100"):
        assert result.overall[name] == pytest.approx(1)
    assert [figures.ap for figures in result.classes.values()] == pytest.approx([1, 1, 1])


def one(box: list[float], *, crowd: bool = False, difficult: bool = False) -> Truth:
    return Truth(
        boxes=np.array([box]),
        categories=np.array([1]),
        crowd=np.array([crowd]),
        difficult=np.array([difficult]),
        areas=np.array([box[2] * box[3]]),
        ids=np.array([1]),
    )


def found(*boxes: list[float]) -> Found:
    scores = np.linspace(0.9, 0.5, len(boxes))
    return Found(boxes=np.array(boxes).reshape(-1, 4), categories=np.ones(len(boxes), np.int64), scores=scores)


def test_sizes_without_an_object_have_no_figure() -> None:
    # 20 × 20 pixels are small: fewer than 32 × 32.
    box = [0.0, 0, 20, 20]
    result = coco_figures([Scene(image=1, truth=one(box), found=found(box))], [1, 2])
    assert result.overall["APs"] == pytest.approx(1)
    assert (result.overall["APm"], result.overall["APl"], result.overall["ARm"]) == (None, None, None)
    assert (result.classes[2].ap, result.classes[2].ap50, result.classes[2].ar100) == (None, None, None)


def test_figures_of_a_class_worked_by_hand() -> None:
    # An IoU of 0.7 counts at 0.5, 0.55, 0.6, 0.65 and 0.7: half of the ten thresholds.
    scene = Scene(image=1, truth=one([0.0, 0, 100, 100]), found=found([0.0, 0, 100, 70]))
    figures = coco_figures([scene], [1])
    assert figures.classes[1].ap == pytest.approx(0.5)
    assert figures.classes[1].ap50 == pytest.approx(1)
    assert figures.classes[1].ar100 == pytest.approx(0.5)
    assert figures.overall["AP75"] == 0
    assert figures.overall["AR1"] == pytest.approx(0.5)


def test_nothing_found_is_zero() -> None:
    figures = coco_figures([Scene(image=1, truth=one([0.0, 0, 20, 20]), found=found())], [1]).overall
    assert [figures[name] for name in ("AP", "AP50", "APs", "AR100", "ARs")] == [0] * 5


@pytest.mark.parametrize("kind", ["crowd", "difficult"])
def test_crowds_and_difficult_objects_are_neither_demanded_nor_punished(kind: str) -> None:
    ignored = one([0.0, 0, 200, 200], **{kind: True})
    extra = Scene(image=1, truth=ignored, found=found([0.0, 0, 50, 50], [100.0, 100, 60, 60]))
    normal = Scene(image=2, truth=replace(one([0.0, 0, 20, 20]), ids=np.array([2])), found=found([0.0, 0, 20, 20]))
    assert coco_figures([extra, normal], [1]).overall["AP"] == pytest.approx(1)


def test_without_pycocotools_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as raised:
        coco_figures([], [])
    assert str(raised.value) == (
        "Measuring a detector needs pycocotools, which is not installed. Run: pip install 'edgecv[eval]'"
    )
