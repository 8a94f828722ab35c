"""Learning from masks: the loss by hand, what of a trained network is taken over, and a small real run on coins."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]
from skimage import data as photos
from skimage import filters, segmentation

import edgecv
from edgecv.data.problems import BrokenDataError
from edgecv.data.reading import open_data
from edgecv.data.samples import Sample
from edgecv.errors import DataError, TrainingError
from edgecv.evaluation.evaluate import evaluate
from edgecv.keras_session import keras_session
from edgecv.models import open_model, save_model
from edgecv.pictures import place
from edgecv.preprocess import Fit
from edgecv.training.network import make_learner, stages_of, unfreeze
from edgecv.training.pixels import PixelAccuracy, PixelCrossEntropy
from edgecv.training.run_data import RunData, data_of_run
from edgecv.training.running import RunResult
from edgecv.training.segmentation import SegmentationTask

LIGHT = "fcn8s_mobilenet_v2"
TILE = 64
# x1, y1, x2, y2 of each part of the picture of coins; between them lie strips of no part.
REGIONS = {"train": (0, 0, 240, 303), "val": (256, 0, 384, 128), "test": (256, 160, 384, 288)}


def write(folder: Path, masks: dict[str, np.ndarray[Any, Any]], classes: str = "") -> Path:
    """Write a data set of grey pictures with these masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for name, mask in masks.items():
        Image.fromarray(np.full(mask.shape, 90, np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    if classes:
        (folder / "classes.txt").write_text(classes)
    return folder


def mask(*rows: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.array(rows, np.uint8)


def run_data(folder: Path) -> RunData:
    """All pictures of a folder as the training part."""
    dataset = open_data(str(folder), format="masks")
    return RunData(dataset=dataset, parts={"train": dataset.samples, "val": (), "test": ()})


def settings(folder: Path, **options: Any) -> edgecv.Settings:
    given = {"architecture": LIGHT, "weights": "random", "format": "masks", "input_size": (TILE, TILE)}
    return edgecv.Settings(data=str(folder), **{**given, **options})


# The loss: logits whose softmax is known.
HALF, THIRD = [0.0, 0.0], [0.0, math.log(2.0)]  # of class 0: 1/2, and 1/3


def test_the_loss_is_averaged_over_the_pixels_that_have_a_class() -> None:
    truth = np.array([[[0, 255]], [[0, 1]]])
    logits = np.array([[[HALF, THIRD]], [[THIRD, THIRD]]], "float32")
    loss = float(PixelCrossEntropy()(truth, logits))
    # Three pixels count, of both pictures together: -ln 1/2, -ln 1/3, -ln 2/3.
    assert loss == pytest.approx((math.log(2) + math.log(3) + math.log(1.5)) / 3, rel=1e-6)


def test_a_batch_without_counted_pixels_has_the_loss_0_and_no_gradient() -> None:
    import tensorflow as tf

    truth, logits = np.full((2, 1, 2), 255), tf.Variable(np.ones((2, 1, 2, 3), "float32"))
    with tf.GradientTape() as tape:
        loss = PixelCrossEntropy()(truth, logits)
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros((2, 1, 2, 3)))


def test_one_channel_is_the_logit_of_class_1() -> None:
    truth, logits = np.array([[[1, 0]]]), np.array([[[[math.log(3.0)], [math.log(3.0)]]]], "float32")
    # A sigmoid of 3/4.
    assert float(PixelCrossEntropy()(truth, logits)) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, rel=1e-6)
    accuracy = PixelAccuracy()
    accuracy.update_state(truth, logits)
    assert float(accuracy.result()) == 0.5


def test_accuracy_leaves_out_what_has_no_class() -> None:
    accuracy = PixelAccuracy()
    accuracy.update_state(np.array([[[0, 255, 1]]]), np.array([[[THIRD, THIRD, THIRD]]], "float32"))
    assert float(accuracy.result()) == 0.5


def test_masks_lie_in_the_input_as_their_pictures_do(tmp_path: Path) -> None:
    data = run_data(write(tmp_path / "data", {"a": mask((0, 1), (255, 1), (0, 0), (1, 1))}))
    task = SegmentationTask(data, settings(tmp_path))
    found = task.targets(data.dataset.samples[0], place(Fit(mode="letterbox"), (4, 2), (4, 4)))
    np.testing.assert_array_equal(
        found["mask"], [[255, 0, 1, 255], [255, 255, 1, 255], [255, 0, 0, 255], [255, 1, 1, 255]]
    )


def test_data_without_masks_teach_nothing(tmp_path: Path) -> None:
    data = run_data(write(tmp_path / "data", {"a": mask((0, 1)), "b": mask((1, 0))}))
    first, second = data.dataset.samples
    none = replace(data.dataset, format="folders", samples=tuple(replace(each, mask=None) for each in (first, second)))
    some = replace(data.dataset, samples=(first, replace(second, mask=None)))
    for dataset, message in (
        (none, f"{none.path!r} (folders) has no masks: it cannot teach segmentation."),
        (some, f"{second.origin} has no mask: a segmenter learns from one for each picture."),
    ):
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            SegmentationTask(replace(data, dataset=dataset), settings(tmp_path))


def test_one_class_alone_teaches_nothing(tmp_path: Path) -> None:
    data = run_data(write(tmp_path / "data", {"a": mask((0, 0))}))
    message = (
        f"The masks of {data.dataset.path!r} have the class '0' alone. "
        "A segmenter tells at least two apart, such as background 0 and object 1."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        SegmentationTask(data, settings(tmp_path))


def test_masks_of_no_class_are_counted_and_all_of_them_refused(tmp_path: Path) -> None:
    nothing = mask((255, 255))
    some = run_data(write(tmp_path / "some", {"a": mask((0, 1)), "b": nothing, "c": nothing}))
    task = SegmentationTask(some, settings(tmp_path))
    assert task.notes((64, 64)) == ("training masks of 255 alone, from which nothing is learnt: 2 of 3",)
    none = run_data(write(tmp_path / "none", {"a": nothing, "b": nothing}, classes="background\nthing\n"))
    message = (
        f"The masks of the 2 training pictures of {none.dataset.path!r} hold 255 alone, which is of no class. "
        "Give masks with class numbers."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        SegmentationTask(none, settings(tmp_path))


def test_broken_masks_are_one_line_and_can_be_skipped(tmp_path: Path) -> None:
    good = {name: mask(*[(0, 1) * 16] * 32) for name in "abcdefgh"}
    folder = write(tmp_path / "data", {**good, "x": mask((0, 2), (0, 0))}, classes="background\nthing\n")
    Image.fromarray(mask((0, 1, 1))).save(folder / "masks" / "a.png")
    message = (
        f"2 labels are broken in {str(folder)!r}, the first at {folder / 'masks' / 'a.png'}: is 3 wide and 1 high, its "
        "picture 32 and 32. Mend them, or go on without them with --skip-broken."
    )
    with pytest.raises(BrokenDataError, match=f"^{re.escape(message)}$") as caught:
        edgecv.train(settings(folder), tmp_path / "run")
    unknown = caught.value.problems[1]
    assert (unknown.file, unknown.text) == (
        str(folder / "masks" / "x.png"),
        "unknown class 2; there are 2, counted from 0",
    )
    assert open_data(str(folder), format="masks", skip_broken=True).skipped == 2


def learner_from(weights: Path, folder: Path, architecture: str, **options: Any) -> Any:
    wanted = settings(folder, architecture=architecture, weights=str(weights), **options)
    return make_learner(wanted, SegmentationTask(run_data(folder), wanted)), wanted


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """An FCN-32s of two classes in a file, and the network."""
    network = edgecv.build("fcn32s_mobilenet_v2", weights="random", input_size=(TILE, TILE), classes=2)
    path = tmp_path_factory.mktemp("coarse") / "32s.keras"
    save_model(network, path)
    return path, network


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    return write(tmp_path / "two", {"a": mask(*[(0, 1) * 16] * 32)})


def test_16s_goes_on_from_32s_with_its_scores(coarse: tuple[Path, Any], two_classes: Path) -> None:
    learner, _ = learner_from(coarse[0], two_classes, "fcn16s_mobilenet_v2")
    old = {variable.path: np.asarray(variable) for variable in coarse[1].weights}
    new = {variable.path: np.asarray(variable) for variable in learner.network.weights}
    fresh = {path for path in new if path not in old}
    assert {path.partition("/")[0] for path in fresh} == {"score_block_13_expand_relu", "upscore_block_13_expand_relu"}
    for path in set(new) - fresh - {"logits/kernel"}:
        np.testing.assert_array_equal(new[path], old[path], err_msg=path)


def test_a_trained_network_keeps_its_size(coarse: tuple[Path, Any], two_classes: Path) -> None:
    learner, _ = learner_from(coarse[0], two_classes, "fcn32s_mobilenet_v2", input_size=None)
    assert learner.size == (TILE, TILE)


def test_other_classes_get_new_scores_on_the_old_body(coarse: tuple[Path, Any], tmp_path: Path) -> None:
    three = write(tmp_path / "three", {"a": mask(*[(0, 1, 2, 2) * 8] * 32)})
    learner, _ = learner_from(coarse[0], three, "fcn32s_mobilenet_v2")
    assert learner.network.output_shape == (None, TILE, TILE, 3)
    kernels = [np.asarray(each.get_layer("block_16_project").kernel) for each in (coarse[1], learner.network)]
    np.testing.assert_array_equal(kernels[0], kernels[1])


def test_the_head_learns_first_and_the_last_interpolation_never(coarse: tuple[Path, Any], two_classes: Path) -> None:
    learner, wanted = learner_from(coarse[0], two_classes, "fcn16s_mobilenet_v2", epochs=2)
    trained = []
    for stage in stages_of(wanted, pretrained=True):
        unfreeze(learner, stage, wanted)
        trained.append({variable.path for variable in learner.network.trainable_variables})
    assert trained[0] == {
        "score_out_relu/kernel",
        "score_out_relu/bias",
        "upscore_block_13_expand_relu/kernel",
        "score_block_13_expand_relu/kernel",
        "score_block_13_expand_relu/bias",
    }
    assert "Conv1/kernel" in trained[1]
    assert "logits/kernel" not in trained[1]


def test_another_network_s_weights_are_refused(two_classes: Path, tmp_path: Path) -> None:
    path = tmp_path / "lenet.keras"
    save_model(edgecv.build("lenet5", weights="random"), path)
    with pytest.raises(TrainingError, match=r"^'lenet5' is no fcn16s_mobilenet_v2: 'Conv1/kernel' is missing there"):
        learner_from(path, two_classes, "fcn16s_mobilenet_v2")


def coins() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The photo of coins, and which pixels are coins: watershed on the gradient, from the dark and the bright ones."""
    photo = photos.coins()
    markers = np.where(photo > 150, 2, np.where(photo < 30, 1, 0))
    return photo, ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(photo), markers) == 2)


@pytest.fixture(scope="module")
def coins_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles, divided by region; those to learn from overlap."""
    folder = tmp_path_factory.mktemp("coins")
    photo, found = coins()
    for part, (x1, y1, x2, y2) in REGIONS.items():
        step = TILE // 2 if part == "train" else TILE
        for kind, pixels in (("images", photo), ("masks", found.astype(np.uint8))):
            (folder / kind / part).mkdir(parents=True)
            for y in range(y1, y2 - TILE + 1, step):
                for x in range(x1, x2 - TILE + 1, step):
                    tile = Image.fromarray(pixels[y : y + TILE, x : x + TILE])
                    tile.save(folder / kind / part / f"{x}_{y}.png")
    (folder / "classes.txt").write_text("background\ncoin\n")
    return folder


@pytest.fixture(scope="module")
def run(coins_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """FCN-8s that has learnt coins."""
    wanted = settings(coins_data, epochs=8, batch=8, learning_rate=2e-3, augment="light")
    return edgecv.train(wanted, tmp_path_factory.mktemp("runs") / "coins")


def test_a_segmenter_learns(run: RunResult, coins_data: Path) -> None:
    samples = open_data(str(coins_data)).of_part("test")
    share = float(np.mean([truth(sample) == 0 for sample in samples]))
    floor = share / 2  # the IoU of the background where all is background, and none of the coins
    assert run.evaluation is not None
    scores = run.evaluation.to_json()
    assert floor < 0.4
    assert scores["miou"] >= floor + 0.3
    assert scores["pixel_accuracy"] >= share + 0.1


def truth(sample: Sample) -> np.ndarray[Any, Any]:
    assert sample.mask is not None
    return sample.mask.read().pixels[..., 0]


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_artifacts_score_as_the_network(run: RunResult, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"coins.{form}"
    artifact = edgecv.export(edgecv.deploy(open_model(str(run.path))), to=form, path=path)
    assert artifact.report is not None
    assert artifact.report.passed
    dataset, parts = data_of_run(run.path)
    scores = evaluate(edgecv.load(path), dataset, parts["test"]).to_json()
    assert run.evaluation is not None
    assert scores["miou"] == pytest.approx(run.evaluation.to_json()["miou"], abs=1e-3)


def test_the_best_epoch_is_that_of_the_largest_miou(run: RunResult) -> None:
    dataset, parts = data_of_run(run.path)
    scores = evaluate(keras_session(edgecv.deploy(open_model(str(run.path)))), dataset, parts["val"]).to_json()
    best = max(row["val_miou"] for row in run.history)
    assert scores["miou"] == pytest.approx(best, abs=1e-3)
