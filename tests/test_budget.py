"""The accuracy budget: what is given back to float, how it is searched for, and what is refused."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import edgecv
from edgecv.artifact import Artifact, hash_file
from edgecv.budget import Budget, Quantizer, make_budget
from edgecv.calibration import Calibration
from edgecv.calibration_pictures import CalibrationPictures, calibration_pictures, is_noise
from edgecv.deployable import Deployable
from edgecv.errors import BudgetError, DataError, OptionError, PictureError
from edgecv.judging import open_labelled
from edgecv.layer_errors import LayerError
from edgecv.photos import shipped_photos
from edgecv.preprocess import STYLES
from edgecv.quantization import Quantization, Speeds
from edgecv.registry import load_runtime
from edgecv.session import Session
from edgecv.weights.random import randomize


@dataclass(frozen=True, kw_only=True)
class WithoutFloatLayers:
    """Writes one tiny file, whatever the network is; of a plugin that quantises all or nothing."""

    summary: ClassVar[str] = "always the same"
    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "int8")
    source: ClassVar[str] = "deployable"
    api_version: ClassVar[int] = 1

    content: bytes
    precision: str = "int8"
    calibration: Calibration | None = None

    def export(self, source: Deployable | Artifact, path: Path) -> Artifact:  # noqa: ARG002
        path.write_bytes(self.content)
        return Artifact(path=path)


@dataclass(frozen=True, kw_only=True)
class Stub(WithoutFloatLayers):
    """The same, and notes which layers stay float."""

    float_layers: tuple[str, ...] = ()
    written: list[tuple[str, ...]] = dataclasses.field(default_factory=list)

    def export(self, source: Deployable | Artifact, path: Path) -> Artifact:
        if self.precision == "int8":
            self.written.append(self.float_layers)
        return super().export(source, path)


class ByNumber:
    """Judges by the number of float layers alone."""

    metric = "top1"
    judged_on = "nothing"
    pictures = 100

    def __init__(self, value: Callable[[int], float]) -> None:
        self._value = value

    def original(self) -> float:
        return 1.0

    def judge(self, session: Session) -> float:
        return self._value(int(session.path.stem.removeprefix("int8-")))


def error(name: str, lost: float, *reads: str) -> LayerError:
    return LayerError(
        layer=name, group=(name,), op="Conv2D", tensor=name, before=0, after=0, largest=0, lost=lost, reads=reads
    )


@pytest.fixture
def deployable() -> Deployable:
    keras.utils.clear_session(free_memory=False)
    image = keras.Input((4, 4, 3), name="image")
    network = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(image)), name="tiny")
    return edgecv.deploy(network, preprocess="0-1")


@pytest.fixture
def search(
    deployable: Deployable,
    make_bare: Callable[..., bytes],
    document: dict[str, Any],
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[Quantization, list[int]]]:
    """Search for a budget, and return what was found and the numbers of float layers that were tried."""

    def run(
        value: Callable[[int], float],
        errors: Sequence[LayerError],
        exporter: Any = Stub,
        proven: Callable[[Artifact], bool] = lambda _: True,
    ) -> tuple[Quantization, list[int]]:
        monkeypatch.setattr("edgecv.layer_errors.layer_errors", lambda *_, **__: list(errors))
        folder = tmp_path / "scratch"
        folder.mkdir()
        stub = exporter(content=make_bare("onnx"))
        pictures = CalibrationPictures(calibration=Calibration(paths=(photo_folder / "000.png",)))
        budget = Budget(pictures=pictures, judge=ByNumber(value), max_drop=0.1)
        runtime = ("onnxruntime", load_runtime("onnxruntime"))

        def convert(exporter: Any, path: Path) -> Artifact:
            return exporter.export(deployable, path)  # type: ignore[no-any-return]

        work = Quantizer(deployable, stub, budget, convert=convert, runtime=runtime, document=document, proven=proven)
        artifact = work.write(tmp_path / "written.onnx", folder)
        assert artifact.path.read_bytes() == stub.content
        assert artifact.quantization is not None
        return artifact.quantization, [len(each) for each in getattr(stub, "written", [])]

    return run


def test_all_layers_stay_int8_where_that_is_enough(search: Any) -> None:
    found, tried = search(lambda _: 0.95, [error("a", 0.5)])
    assert (found.met, found.float_layers, found.requantisations, tried) == (True, (), 0, [0])
    assert found.drop == pytest.approx(0.05)
    assert found.speeds.sizes.keys() == {"float32", "all_int8", "written"}
    assert found.notes == ()


@pytest.mark.parametrize("enough", [1, 2, 7, 100, 255])
def test_the_shortest_list_that_is_enough_is_found_within_eight_tries(search: Any, enough: int) -> None:
    errors = [error(f"layer{index}", 0.04 - index * 1e-4) for index in range(255)]
    found, tried = search(lambda number: 1.0 if number >= enough else 0.5, errors)
    assert found.met
    assert [each.layer for each in found.float_layers] == [f"layer{index}" for index in range(enough)]
    assert found.requantisations == len(tried) - 1 <= 8


def test_what_keeps_the_budget_has_to_pass_verification_too(search: Any) -> None:
    errors = [error(f"layer{index}", 0.04 - index * 1e-4) for index in range(10)]
    found, _ = search(lambda _: 0.95, errors, proven=lambda made: int(made.path.stem.removeprefix("int8-")) >= 3)
    assert (found.met, len(found.float_layers)) == (True, 3)


def test_what_cannot_be_reached_gives_the_best_that_was_tried(search: Any) -> None:
    errors = [error(f"layer{index}", 0.04 - index * 1e-4) for index in range(300)]
    found, tried = search(lambda number: 0.5 + min(number, 192) / 1000, errors)
    assert found.met is False
    assert found.requantisations == 8
    assert found.value == pytest.approx(0.692)
    assert len(found.float_layers) == 192
    assert found.missed() == "top1 drops by 0.308, above max-drop 0.1, the best of 9 tries"
    assert max(tried) == 255


def test_a_file_that_is_no_smaller_than_float32_is_said_so(search: Any) -> None:
    found, _ = search(lambda number: 1.0 if number else 0.5, [error("a", 0.5)])
    assert found.notes == (
        "So many layers are in float32 that the file has 1.00 of the size of float32. "
        "Export that, or allow a larger --max-drop.",
    )


def test_an_exporter_that_cannot_give_layers_back_says_so(search: Any) -> None:
    found, _ = search(lambda _: 0.5, [error("a", 0.5)], exporter=WithoutFloatLayers)
    assert (found.met, found.requantisations) == (False, 0)
    assert found.notes[-1] == "The exporter has no option float_layers: it cannot give layers back to float."
    assert found.missed() == "top1 drops by 0.5, above max-drop 0.1, with all layers in int8"


def test_layers_go_back_by_what_they_lose_themselves_and_readers_follow(search: Any) -> None:
    errors = [
        error("first", 0.001),
        error("bad", 0.9, "first"),
        error("behind", 0.95, "bad"),
        error("other", 0.01, "first"),
        error("last", 0.951, "behind", "other"),
    ]
    found, _ = search(lambda number: 1.0 if number >= 2 else 0.5, errors)
    assert [each.layer for each in found.float_layers] == ["bad", "behind"]
    assert [each.error for each in found.float_layers] == pytest.approx([0.899, 0.05])


def test_what_rounding_alone_loses_counts_behind_layers_that_have_lost_all(search: Any) -> None:
    spoiled = dataclasses.replace(error("spoiled", 0.95, "bad"), rounding=0.4)
    errors = [error("bad", 0.9), spoiled, error("behind", 0.96, "spoiled"), error("last", 0.97, "behind")]
    found, _ = search(lambda number: 1.0 if number >= 3 else 0.5, errors)
    assert [each.layer for each in found.float_layers] == ["bad", "spoiled", "behind"]


def collapsing(kind: str) -> Any:
    """A network in which one tensor has a channel so large that 256 steps leave nothing of the others."""
    keras.utils.clear_session(free_memory=False)
    image = x = keras.Input((32, 32, 3), name="image")
    for index, filters in enumerate((8, 12, 16)):
        x = layers.Conv2D(filters, 3, 2 if index else 1, padding="same", name=f"conv{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    if kind == "logits":
        x = layers.Conv2D(5, 1, name="logits")(x)
    else:
        x = layers.Dense(6, activation="softmax", name="head")(layers.GlobalAveragePooling2D(name="pool")(x))
    network = keras.Model(image, x, name=kind)
    randomize(network, STYLES["0-1"], seed=0)
    if kind == "logits":
        layer, value = network.get_layer("logits"), -2000.0
    else:
        layer, value = network.get_layer("conv1"), 3000.0
        kernel, bias = network.get_layer("conv2").get_weights()
        kernel[:, :, 0] *= 1e-5
        network.get_layer("conv2").set_weights([kernel, bias])
    kernel, bias = layer.get_weights()
    kernel[..., 0] = 0
    bias[0] = value
    layer.set_weights([kernel, bias])
    return network


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_the_layer_that_collapses_is_given_back_and_no_other(form: str, photo_folder: Path, tmp_path: Path) -> None:
    deployable = edgecv.deploy(collapsing("logits"), preprocess="0-1", task="segmentation")
    path = tmp_path / f"out.{form}"
    artifact = edgecv.export(
        deployable, to=form, path=path, precision="int8", calibration=photo_folder, max_drop=0.1, cases=False
    )
    found = artifact.quantization
    assert found is not None
    assert found.met
    assert [each.layer for each in found.float_layers] == ["logits"]
    assert found.float_layers[0].error > 0.5
    recorded = edgecv.load(path).metadata["quantization"]
    assert recorded["float_layers"] == [found.float_layers[0].to_json()]
    assert recorded["calibration"] == {"pictures": 80, "sha256": found.calibration_sha256}
    assert "p50_ms" not in recorded


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_a_tensor_that_collapses_inside_takes_its_layer_and_its_reader(
    form: str, photo_folder: Path, tmp_path: Path
) -> None:
    deployable = edgecv.deploy(collapsing("inside"), preprocess="0-1")
    artifact = edgecv.export(
        deployable, to=form, path=tmp_path / f"out.{form}", precision="int8", calibration=photo_folder, max_drop=0.15
    )
    assert artifact.quantization is not None
    assert [each.layer for each in artifact.quantization.float_layers] in (["relu1"], ["relu1", "relu2"])


def test_a_missed_budget_is_an_error_and_the_best_is_written(
    deployable: Deployable, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecv.judging.AgreementJudge.judge", lambda *_: 0.8)
    with pytest.raises(
        BudgetError,
        match=r"^tiny as onnx: top1_agreement drops by 0\.2, above max-drop 0\.1, the best of \d tries$",
    ) as caught:
        edgecv.export(
            deployable, to="onnx", path=tmp_path / "x.onnx", precision="int8", calibration=photo_folder, max_drop=0.1
        )
    assert caught.value.artifact.path == tmp_path / "x.onnx"
    assert edgecv.load(tmp_path / "x.onnx").metadata["quantization"]["met"] is False
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.onnx"]


def test_every_fifth_picture_is_held_out_also_in_folders_of_classes(photo_folder: Path, tmp_path: Path) -> None:
    for index, file in enumerate(sorted(photo_folder.iterdir())[:12]):
        folder = tmp_path / f"class{index // 6}"
        folder.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    found = calibration_pictures(tmp_path)
    assert [path.stem for path in found.held_out] == ["004", "009"]
    assert [path.stem for path in found.calibration.paths] == [f"{i:03}" for i in range(12) if i not in (4, 9)]
    assert found.notes == ("Only 10 pictures calibrate: ranges of activations want 100 or more real ones.",)


def test_copies_calibrate_once(photo_folder: Path, tmp_path: Path) -> None:
    first = sorted(photo_folder.iterdir())[0]
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(first.read_bytes())
    found = calibration_pictures(tmp_path)
    assert [path.name for path in found.calibration.paths] == ["a.png"]
    assert found.notes[0] == "1 of the calibration pictures are copies of others and were left out."


def test_pictures_are_told_from_noise() -> None:
    random = np.random.default_rng(0)
    for photo in shipped_photos().values():
        assert not is_noise(photo)
        assert not is_noise(np.asarray(Image.fromarray(photo).convert("1").convert("RGB")))  # dithered
    lines = np.full((64, 64, 3), 255, np.uint8)
    lines[::7] = 0
    assert not is_noise(lines)
    assert not is_noise(np.zeros((32, 32, 3), np.uint8))
    board = np.indices((32, 32)).sum(axis=0) % 2 * 255
    assert not is_noise(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    for size in (16, 28, 224, 700):
        assert is_noise(random.integers(0, 256, (size, size, 3), dtype=np.uint8))
        assert is_noise(random.normal(128, 40, (size, size, 3)).clip(0, 255).astype(np.uint8))
        assert is_noise(np.repeat(random.integers(0, 2, (size, size, 1), dtype=np.uint8) * 255, 3, axis=2))


def test_noise_is_refused_unless_it_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
    message = (
        f"^Picture '{file}' is random noise, from which ranges of real pictures cannot be learnt. "
        "Take it out, or allow it with --calibration-noise.$"
    )
    with pytest.raises(PictureError, match=message):
        calibration_pictures(tmp_path)
    assert calibration_pictures(tmp_path, noise=True).calibration.paths == (file,)


def test_a_budget_without_pictures_to_calibrate_on_is_refused(deployable: Deployable, tmp_path: Path) -> None:
    message = "max_drop needs pictures to calibrate on, and there are none. Give calibration."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        edgecv.export(deployable, to=Stub(content=b""), path=tmp_path / "x.onnx", max_drop=0.1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("max_drop", "message"),
    [
        (0.0, "max-drop must be above 0 and below 1, got 0: 0.02 is two points of 100."),
        (-0.1, "max-drop must be above 0 and below 1, got -0.1: 0.02 is two points of 100."),
        (1.0, "max-drop must be above 0 and below 1, got 1: 0.02 is two points of 100."),
        (float("nan"), "max-drop must be above 0 and below 1, got nan: 0.02 is two points of 100."),
        (1e-320, "max-drop must be above 0 and below 1, got 9.99989e-321: 0.02 is two points of 100."),
        (
            0.02,
            "max-drop 0.02 needs 100 pictures to judge on, and there are 20. "
            "Give 500 to --calibration, which holds out every fifth, or labelled ones with --data.",
        ),
    ],
)
def test_a_budget_that_cannot_be_judged_is_refused(
    deployable: Deployable, photo_folder: Path, max_drop: float, message: str
) -> None:
    with pytest.raises(OptionError) as caught:
        make_budget(deployable, calibration_pictures(photo_folder), max_drop=max_drop)
    assert str(caught.value) == message


def test_pictures_that_calibrate_are_not_judged_on(deployable: Deployable, photo_folder: Path, tmp_path: Path) -> None:
    files = sorted(photo_folder.iterdir())[:30]
    for index, file in enumerate(files):
        folder = tmp_path / f"class{index % 3}"
        folder.mkdir(exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    pictures = calibration_pictures(files)
    budget = make_budget(deployable, pictures, data=open_labelled(str(tmp_path)))
    assert budget.judge is not None
    assert (budget.judge.metric, budget.judge.pictures) == ("top1", 6)
    assert budget.pictures.notes[-1] == "24 pictures of --data calibrate, too, and were left out of what is judged on."
    assert {hash_file(path) for path in pictures.calibration.paths} == pictures.hashes()
    with pytest.raises(
        OptionError, match=r"^max-drop 0\.2 needs 10 pictures to judge on, and there are 6\. Give more --data\.$"
    ):
        make_budget(deployable, pictures, max_drop=0.2, data=open_labelled(str(tmp_path)))


def test_labels_of_another_task_are_refused(networks: Any, photo_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "class0"
    folder.mkdir()
    (folder / "a.png").write_bytes((photo_folder / "099.png").read_bytes())
    with pytest.raises(
        DataError, match=r"^'.*' holds labels for classification, and a detector needs boxes\. Give other data\.$"
    ):
        make_budget(
            networks.deployable("detector"),
            calibration_pictures(sorted(photo_folder.iterdir())[:10]),
            data=open_labelled(str(tmp_path)),
        )


def test_a_task_without_a_metric_has_no_budget(networks: Any, photo_folder: Path) -> None:
    pictures = calibration_pictures(photo_folder)
    assert make_budget(networks.deployable("two_outputs"), pictures).judge is None
    with pytest.raises(
        OptionError, match=r"^A network of the task 'other' has no metric to judge int8 by\. Leave --max-drop out\.$"
    ):
        make_budget(networks.deployable("two_outputs"), pictures, max_drop=0.1)


def test_a_slower_file_is_said_with_both_times() -> None:
    speeds = Speeds(
        sizes={"float32": 1000, "written": 280}, p50_ms={"float32": 4.0, "written": 6.25}, slower_than_float=True
    )
    assert speeds.warning("onnx in int8") == (
        "onnx in int8 is slower than float32 on this machine: 6.25 ms against 4.00 ms a run. "
        "Its file has 0.28 of the size."
    )
    assert dataclasses.replace(speeds, slower_than_float=False).warning("int8") is None
