"""Files in COCO's form: measured as pycocotools does, or refused with the entry that is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecv.errors import DataError
from edgecv.evaluation.coco import FIGURES
from edgecv.evaluation.from_files import evaluate_files
from edgecv.evaluation.scenes import Scene


def instances() -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [0, 0, 50, 50], "area": 2000, "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 1, "bbox": [10, 10, 50.5, 50]},
        ],
    }


def result(**changes: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 18, "bbox": [0, 0, 50, 50], "score": 0.9, **changes}


def write(folder: Path, results: Any, truth: Any) -> tuple[Path, Path]:
    for name, content in (("results.json", results), ("truth.json", truth)):
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "results.json", folder / "truth.json"


def message(folder: Path, results: Any, truth: Any) -> str:
    """Return what is said, the folder left out."""
    with pytest.raises(DataError) as raised:
        evaluate_files(*write(folder, results, truth))
    return str(raised.value).replace(f"{folder}/", "")


def test_files_are_measured(tmp_path: Path) -> None:
    evaluation = evaluate_files(*write(tmp_path, [result()], instances()))
    document = evaluation.to_json()
    assert document["AP50_voc11"] == pytest.approx(0.5)
    assert document["AP"] == pytest.approx(0.5)
    assert (document["images"], document["task"], document["notes"]) == (2, "detection", [])
    assert [(row["class"], row["objects"], row["hits"]) for row in document["per_class"]] == [
        ("dog", 1, 1),
        ("person", 1, 0),
    ]
    assert document["predictions"].endswith("results.json")
    assert "pictures_per_second" not in document


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_pycocotools_on_the_same_files(
    seed: int, make_scenes: Callable[..., list[Scene]], tmp_path: Path
) -> None:
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    scenes = make_scenes(seed, crowds=True, pictures=20)
    truth = {
        "images": [{"id": scene.image} for scene in reversed(scenes)],
        "categories": [{"id": number, "name": str(number)} for number in (2, 0, 1)],
        "annotations": [
            {
                # From 0 on, as some programs number: COCO's evaluator has its own mind about that.
                "id": int(scene.truth.ids[place]) - 1,
                "image_id": scene.image,
                "category_id": int(scene.truth.categories[place]),
                "bbox": scene.truth.boxes[place].tolist(),
                "area": float(scene.truth.areas[place]),
                "iscrowd": int(scene.truth.crowd[place]),
            }
            for scene in scenes
            for place in range(len(scene.truth.boxes))
        ],
    }
    results = [
        {
            "image_id": scene.image,
            "category_id": int(scene.found.categories[place]),
            "bbox": scene.found.boxes[place].tolist(),
            "score": float(scene.found.scores[place]),
        }
        for scene in scenes
        for place in range(len(scene.found.boxes))
    ]
    files = write(tmp_path, results, truth)
    evaluation = evaluate_files(*files)
    with contextlib.redirect_stdout(io.StringIO()):
        reader = COCO(str(files[1]))
        evaluator = COCOeval(reader, reader.loadRes(str(files[0])), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    document = evaluation.to_json()
    given = [-1 if document[name] is None else document[name] for name in FIGURES]
    np.testing.assert_allclose(np.array(given, float), evaluator.stats, atol=1e-6, rtol=0)
    (note,) = evaluation.notes
    assert note == (
        f"{str(files[1])!r} has an annotation of id 0, which COCO's evaluator never counts as found. "
        "Number them from 1."
    )


def test_no_predictions_are_zeros(tmp_path: Path) -> None:
    document = evaluate_files(*write(tmp_path, [], instances())).to_json()
    assert [document[name] for name in ("AP", "AP50", "AP75", "AR1", "AR10", "AR100", "AP50_voc11")] == [0] * 7
    assert document["APl"] is None
    json.dumps(document, allow_nan=False)


def test_no_annotations_have_no_figures(tmp_path: Path) -> None:
    truth = {**instances(), "annotations": []}
    document = evaluate_files(*write(tmp_path, [result()], truth)).to_json()
    assert (document["AP"], document["AP50_voc11"]) == (None, None)


def test_texts_as_picture_ids_whole_floats_and_missing_ids_are_taken(tmp_path: Path) -> None:
    truth = instances()
    for image, name in zip(truth["images"], ("a", "b"), strict=True):
        image["id"] = name
    for annotation, name in zip(truth["annotations"], ("a", "b"), strict=True):
        annotation["image_id"] = name
        del annotation["id"]
    results = [result(image_id="a", category_id=18.0), result(image_id="b", category_id=1, bbox=[10, 10, 50.5, 50])]
    assert evaluate_files(*write(tmp_path, results, truth)).to_json()["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ("{", "'results.json' is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ({"annotations": []}, "'results.json', at its top: it must be a list of results, got {\"annotations\": []}"),
        ([3], "'results.json', entry 0: it must be an object, got 3"),
        ([result(), {"image_id": 7}], "'results.json', entry 1: 'category_id' is missing"),
        ([result(image_id=8)], "'results.json', entry 0: 'image_id' 8 is none of the 2 images of 'truth.json'"),
        ([result(image_id="7")], "'results.json', entry 0: 'image_id' '7' is none of the 2 images of 'truth.json'"),
        ([result(image_id=1.5)], "'results.json', entry 0: 'image_id' must be a whole number, got 1.5"),
        (
            [result(category_id=2)],
            "'results.json', entry 0: 'category_id' 2 is none of the 2 categories of 'truth.json'",
        ),
        ([result(category_id=True)], "'results.json', entry 0: 'category_id' must be a whole number, got true"),
        ([result(score="high")], "'results.json', entry 0: 'score' must be a finite number, got \"high\""),
        ([result(score=float("nan"))], "'results.json', entry 0: 'score' must be a finite number, got NaN"),
        (
            [result(bbox=[1, 2, 3])],
            "'results.json', entry 0: 'bbox' must be four finite numbers, left, top, width, height, got [1, 2, 3]",
        ),
        (
            [result(bbox=[1, 2, float("inf"), 3])],
            "'results.json', entry 0: 'bbox' must be four finite numbers, left, top, width, height, "
            "got [1, 2, Infinity, 3]",
        ),
        ([result(bbox=[5, 5, -1, 2])], "'results.json', entry 0: 'bbox' has a negative width or height: [5, 5, -1, 2]"),
        (
            [{"image_id": 7, "category_id": 18, "segmentation": [], "score": 1}],
            "'results.json', entry 0: 'bbox' is missing",
        ),
    ],
)
def test_wrong_predictions_are_named(results: Any, said: str, tmp_path: Path) -> None:
    assert message(tmp_path, results, instances()).removesuffix(". Write it again.").removesuffix(".") == said


def changed(part: str, place: int, **changes: Any) -> dict[str, Any]:
    truth = instances()
    truth[part][place] |= changes
    return truth


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ([], "'truth.json', at its top: it must be an object of instances, got []."),
        ({"images": [], "categories": []}, "'truth.json', key 'annotations': it is missing."),
        ({**instances(), "images": 5}, "'truth.json', key 'images': it must be a list, got 5."),
        ({**instances(), "images": []}, "'truth.json', key 'images': it is empty: there is nothing to measure."),
        (
            changed("images", 1, id=7),
            "'truth.json', images entry 1: 'id' 7 is there already; ids must differ.",
        ),
        (changed("images", 1, id="b"), "'truth.json', key 'images': some ids are numbers and some are texts."),
        (
            changed("categories", 1, id=18),
            "'truth.json', categories entry 1: 'id' 18 is there already; ids must differ.",
        ),
        (
            changed("annotations", 1, id=1),
            "'truth.json', annotations entry 1: 'id' 1 is there already; ids must differ.",
        ),
        (
            changed("annotations", 0, image_id=9),
            "'truth.json', annotations entry 0: 'image_id' 9 is none of the 2 images of 'truth.json'.",
        ),
        (
            changed("annotations", 0, category_id=9),
            "'truth.json', annotations entry 0: 'category_id' 9 is none of the 2 categories of 'truth.json'.",
        ),
        (
            changed("annotations", 0, iscrowd=2),
            "'truth.json', annotations entry 0: 'iscrowd' must be 0 or 1, got 2.",
        ),
        (
            changed("annotations", 0, area="big"),
            "'truth.json', annotations entry 0: 'area' must be a finite number, got \"big\".",
        ),
    ],
)
def test_wrong_instances_are_named(truth: Any, said: str, tmp_path: Path) -> None:
    assert message(tmp_path, [], truth) == said


def test_files_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        evaluate_files(tmp_path / "none.json", tmp_path / "none.json")
    assert str(raised.value) == (
        f"{str(tmp_path / 'none.json')!r} cannot be read: No such file or directory. Name a JSON file."
    )


def test_deep_nesting_is_one_line(tmp_path: Path) -> None:
    assert message(tmp_path, "[" * 100_000, instances()) == (
        "'results.json' is no JSON of COCO: it is nested too deeply. Write it again."
    )
