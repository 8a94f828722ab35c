"""Faults planted at known layers, by rule, in files of both formats: bisecting must find the group that holds each."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv import registry
from edgecv.bisect import bisect
from edgecv.calibration import Calibration
from edgecv.deployable import Deployable
from edgecv.errors import OptionError
from edgecv.layer_errors import Layers
from edgecv.metadata import seal
from edgecv.photos import shipped_photos
from edgecv.report import Check, Report
from edgecv.verification import verify

# Network and format → `planting.Export`: a sound artifact and its original.
Exported = Callable[[str, str], Any]
FORMATS = ("onnx", "tflite")
SIZES = {"resnet18": (64, 64), "googlenet": (64, 64), "ssd_tiny": (96, 96)}

# Network, layer with the fault, what is done to it in both formats.
FAULTS = [
    ("resnet18", "stem_conv", "filters swapped"),
    ("resnet18", "stage2_unit1_skip_conv", "scaled"),
    ("resnet18", "stage3_unit2_1_bn", "epsilon"),
    ("resnet18", "stage1_unit2_relu", "activation dropped"),
    ("googlenet", "conv2", "bias shifted"),
    ("googlenet", "inception_3b_2_1", "activation dropped"),
    ("googlenet", "inception_4d_3_2", "flipped"),
    ("googlenet", "predictions", "scaled"),
    ("ssd_tiny", "map1_depthwise", "scaled"),
    ("ssd_tiny", "map2_wide_bn", "epsilon"),
    ("ssd_tiny", "map3_narrow_relu6", "activation dropped"),
    ("ssd_tiny", "map0_class_conv", "bias shifted"),
]
# Every second one in each format; the slow test below plants more of them.
CASES = [(*fault, FORMATS[index % 2]) for index, fault in enumerate(FAULTS)]


@pytest.fixture(scope="module")
def exported(planting: Any, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Export a network of random weights to a format, once."""
    folder = tmp_path_factory.mktemp("sound")
    originals: dict[str, Deployable] = {}
    made: dict[tuple[str, str], Any] = {}

    def export(name: str, form: str) -> Any:
        if name not in originals:
            network = edgecv.build(name, weights="random", input_size=SIZES[name])
            originals[name] = edgecv.deploy(network)
        if (name, form) not in made:
            path = folder / f"{name}.{form}"
            edgecv.export(originals[name], to=form, path=path, verify=False)
            made[name, form] = planting.Export(originals[name], path)
        return made[name, form]

    return export


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two photos in files."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    paths = []
    for name, pixels in list(shipped_photos().items())[:2]:
        paths.append(folder / f"{name}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.mark.parametrize(("name", "layer", "rule", "form"), CASES)
def test_a_fault_is_found_in_the_group_that_holds_it(
    name: str,
    layer: str,
    rule: str,
    form: str,
    exported: Exported,
    planting: Any,
    photos: list[Path],
    tmp_path: Path,
) -> None:
    sound = exported(name, form)
    path = planting.plant(sound, layer, rule, tmp_path)
    found = bisect(path, sound.deployable, FAILED, images=photos)
    assert found.verdict == "layer", found.text
    assert found.found is not None
    assert layer in found.found.group
    assert found.found.before < 1e-4
    assert max(found.found.after, found.found.largest) > 1e-4


def test_an_artifact_that_passes_diverges_nowhere(exported: Exported, photos: list[Path]) -> None:
    sound = exported("ssd_tiny", "onnx")
    found = bisect(sound.path, sound.deployable, PASSED, images=photos)
    assert found.text == "Nothing diverges: the answers are the original's."
    assert (found.verdict, found.found, found.wrong) == ("same", None, frozenset())
    assert max(layer.after for layer in found.layers) < 1e-5
    names = {path for layer in found.layers for path in layer.group}
    assert names == {layer.name for layer in sound.deployable.network.layers} - {"image"}


def test_other_suppression_is_behind_the_network(exported: Exported, photos: list[Path]) -> None:
    sound = exported("ssd_tiny", "onnx")
    report = Report(checks=(dataclasses.replace(FAILED.checks[0], output="nms"),))
    found = bisect(sound.path, sound.deployable, report, images=photos)
    assert found.verdict == "head"
    assert found.text == ("All layers and boxes before suppression are right; suppression answers differently ('nms').")
    found = bisect(sound.path, sound.deployable, FAILED, images=photos)
    assert found.text == "All layers of the network are right; what follows it answers differently ('probabilities')."


@pytest.mark.parametrize("form", FORMATS)
def test_another_scaling_is_named(form: str, networks: Any, tmp_path: Path) -> None:
    path = tmp_path / f"faulty.{form}"
    edgecv.export(networks.deployable("separable", preprocess="torch"), to=form, path=path, verify=False)
    original = networks.deployable("separable")
    report = verify(path, against=original, go_on=True)
    assert [check.output for check in report.checks] == ["preprocess", "probabilities"]
    found = bisect(path, original, report)
    assert found.verdict == "scaling"
    assert found.text == (
        "The scaling in front of the network is another: layers are wrong from the first on, and the first is right "
        "with the pictures scaled as 'torch' (rgb)."
    )
    assert found.found is not None
    assert "stem" in found.found.group


def test_another_scaling_of_a_luminance_network_is_named(networks: Any, tmp_path: Path) -> None:
    path = tmp_path / "faulty.onnx"
    edgecv.export(networks.deployable("lenet5", preprocess="0-1"), to="onnx", path=path, verify=False)
    original = networks.deployable("lenet5", preprocess="tf")
    found = bisect(path, original, verify(path, against=original, go_on=True))
    assert found.verdict == "scaling"


def test_another_network_of_one_channel_differs_from_its_first_layer(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    edgecv.export(edgecv.deploy(edgecv.build("lenet5", weights="random")), to="onnx", path=path, verify=False)
    original = edgecv.deploy(edgecv.build("lenet5", weights="random", seed=1))
    found = bisect(path, original, verify(path, against=original, go_on=True))
    assert found.verdict == "layer"
    assert found.found is not None
    assert found.found.before == 0


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["lenet5", "residual", "multilabel", "two_outputs", "localiser", "segmenter"])
def test_every_layer_of_a_sound_artifact_is_right(
    name: str, form: str, networks: Any, photos: list[Path], tmp_path: Path
) -> None:
    deployable = networks.deployable(name)
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"sound.{form}", verify=False)
    found = bisect(artifact.path, deployable, PASSED, images=photos)
    assert found.wrong == frozenset()
    compared = {path for layer in found.layers for path in layer.group}
    no_tensor = (r"image", r"pad", r"flatten.*", r"up")  # ONNX loses the name of a resize
    left_out = [layer.name for layer in deployable.network.layers if layer.name not in compared]
    assert all(re.fullmatch("|".join(no_tensor), name) for name in left_out), left_out


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"batch": 3}, {"input_dtype": "float32"}, {"resize": "letterbox"}], ids=str
)
def test_however_pictures_go_in(
    form: str, options: dict[str, Any], networks: Any, photos: list[Path], tmp_path: Path
) -> None:
    if options.get("batch") == 0:
        options = {"batch": None}
    deployable = networks.deployable("residual", **options)
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"sound.{form}", verify=False)
    found = bisect(artifact.path, deployable, PASSED, images=photos)
    assert found.wrong == frozenset()
    assert [layer.layer for layer in found.layers][-1] == "head"


@pytest.mark.parametrize("form", FORMATS)
def test_nested_models_and_shared_layers_are_compared(form: str, photos: list[Path], tmp_path: Path) -> None:
    import keras
    from keras import layers

    inner_image = keras.Input((16, 16, 4))
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inner_image)
    inner = keras.Model(inner_image, layers.Add(name="add")([inner_image, y]), name="block")
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    shared = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    x = inner(layers.Concatenate(name="join")([shared(x), shared(layers.AveragePooling2D(1, name="same")(x))])[..., :4])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    deployable = edgecv.deploy(keras.Model(image, layers.Dense(3, name="head")(x), name="nested"), preprocess="tf")
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"sound.{form}", verify=False)
    found = bisect(artifact.path, deployable, PASSED, images=photos)
    assert found.wrong == frozenset()
    assert {"stem", "shared", "block/conv", "block/add", "pool", "head"} <= {layer.layer for layer in found.layers}


def test_the_values_of_both_sides_are_saved(networks: Any, planting: Any, tmp_path: Path) -> None:
    sound = networks.deployable("separable")
    artifact = edgecv.export(sound, to="onnx", path=tmp_path / "sound.onnx", verify=False)
    path = planting.plant(planting.Export(sound, artifact.path), "depthwise", "scaled", tmp_path)
    found = bisect(path, sound, FAILED, tensors=tmp_path)
    assert found.saved == tmp_path / "depthwise_bn.npz"
    assert found.found is not None
    with np.load(found.saved) as saved:
        assert saved["original"].shape == saved["artifact"].shape == (len(saved["pictures"]), 12, 12, 8)
        off = np.sqrt(np.mean((saved["original"] - saved["artifact"]) ** 2, axis=(1, 2, 3)))
        relative = off / np.sqrt(np.mean(saved["original"] ** 2, axis=(1, 2, 3)))
        assert found.found.after == pytest.approx(relative.max(), rel=1e-3)
        assert found.worst == saved["pictures"][np.argmax(relative)]
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".npz"] == ["depthwise_bn.npz"]


def test_a_baseline_has_to_be_of_the_same_network_and_precision(networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable("separable")
    first = edgecv.export(sound, to="onnx", path=tmp_path / "first.onnx").path
    other = edgecv.export(sound, to="tflite", path=tmp_path / "other.tflite", verify=False).path
    found = bisect(first, sound, PASSED, baseline=first)
    assert min(found.limits.values()) == 1e-4
    problem = (
        f"The baseline {str(other)!r} is no sound version of {str(first)!r}: its format is 'tflite' instead of 'onnx'. "
        "Export the same network with the same options."
    )
    with pytest.raises(OptionError, match=f"^{re.escape(problem)}$"):
        bisect(first, sound, PASSED, baseline=other)


def test_another_artifact_takes_the_place_of_the_original(networks: Any, tmp_path: Path) -> None:
    sound = networks.deployable("separable")
    paths = {form: edgecv.export(sound, to=form, path=tmp_path / f"a.{form}", verify=False).path for form in FORMATS}
    feeds = np.zeros((1, 24, 24, 3), np.uint8)
    feeds[0, 5:9, 3:20] = 200
    errors = Layers(sound, paths["tflite"], reference=paths["onnx"]).errors(feeds)
    # The head is left out: with its softmax in one file, without in the other.
    assert [error.layer for error in errors] == ["stem_relu", "depthwise_relu", "pool"]
    assert max(error.after for error in errors) < 1e-5
    assert [error.after for error in Layers(sound, paths["onnx"], reference=paths["onnx"]).errors(feeds)] == [0.0] * 6


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SIZES)
def test_faults_in_every_third_layer_are_found(
    name: str, form: str, exported: Exported, planting: Any, photos: list[Path], tmp_path: Path
) -> None:
    sound = exported(name, form)
    planted, missed = 0, []
    for layer, rule in list(planting.faults(sound))[FORMATS.index(form) :: 3]:
        path = planting.plant(sound, layer, rule, tmp_path)
        report = verify(path, against=sound.deployable, images=photos, go_on=True)
        if all(check.passed for check in report.checks if check.images):
            continue  # it does not matter
        planted += 1
        found = bisect(path, sound.deployable, report, images=photos)
        if found.found is None or layer not in found.found.group:
            missed.append((layer, rule, found.text))
    print(f"{name} {form}: {planted - len(missed)} of {planted} found")
    assert planted >= 8
    assert missed == []


@pytest.mark.parametrize(
    ("form", "layer", "rule"),
    [
        ("onnx", "stem", "filters reversed"),
        ("onnx", "depthwise", "halved"),
        ("tflite", "depthwise", "filters reversed"),
        ("tflite", "head", "biases reversed"),
    ],
)
def test_a_fault_in_int8_is_found_with_a_baseline(
    form: str, layer: str, rule: str, networks: Any, planting: Any, photos: list[Path], tmp_path: Path
) -> None:
    sound = planting.Export(networks.deployable("separable"), tmp_path / f"sound.{form}")
    export_quantized(sound, photos)
    path = planting.plant(sound, layer, rule, tmp_path)
    found = bisect(path, sound.deployable, FAILED, images=photos, baseline=sound.path)
    assert found.verdict == "layer"
    assert found.found is not None
    assert layer in found.found.group
    assert found.worst in map(str, photos)  # noise is left out: ranges are learnt from pictures
    grown = bisect(path, sound.deployable, FAILED, images=photos)
    assert (grown.verdict, grown.wrong, grown.limits) == ("growth", frozenset(), {})
    assert grown.text.endswith(
        "How much of it is due to 8 bits only a sound int8 artifact tells: give one with --baseline."
    )
    passes = bisect(sound.path, sound.deployable, PASSED, images=photos, baseline=sound.path)
    assert (passes.verdict, passes.wrong) == ("same", frozenset())
    no_better = bisect(path, sound.deployable, FAILED, images=photos, baseline=resealed(path))
    assert no_better.text == (
        "No layer's error is above 3 times the baseline's: either what follows the network answers differently "
        "('probabilities'), or the baseline is no better."
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SIZES)
def test_faults_of_int8_in_every_fourth_layer_are_found(
    name: str, form: str, planting: Any, photos: list[Path], tmp_path: Path
) -> None:
    network = edgecv.build(name, weights="random", input_size=SIZES[name])
    sound = planting.Export(edgecv.deploy(network), tmp_path / f"sound.{form}")
    export_quantized(sound, photos)
    kinds = ("Conv2D", "DepthwiseConv2D", "Dense")
    names = [layer.name for layer in network.layers if type(layer).__name__ in kinds][FORMATS.index(form) :: 4]
    planted, missed = 0, []
    for index, layer in enumerate(names):
        rule = planting.QUANTIZED_RULES[index % len(planting.QUANTIZED_RULES)]
        path = planting.plant(sound, layer, rule, tmp_path)
        report = verify(path, against=sound.deployable, images=photos, go_on=True)
        if all(check.passed for check in report.checks if check.images):
            continue  # it drowns in what 8 bits do
        planted += 1
        found = bisect(path, sound.deployable, report, images=photos, baseline=sound.path)
        if found.found is None or layer not in found.found.group:
            missed.append((layer, rule, found.text))
    print(f"{name} {form} int8: {planted - len(missed)} of {planted} found")
    assert planted >= 3
    assert missed == []


def resealed(path: Path) -> Path:
    """Give a file the digest of its bytes."""
    found = registry.runtime_for(path.suffix)
    assert found is not None
    seal(path, found[1].read_metadata(path), found[1])
    return path


def export_quantized(sound: Any, photos: list[Path]) -> None:
    """Export in int8, calibrated on few pictures: the answers need not be good."""
    exporter: Any = registry.load_exporter(sound.path.suffix[1:])
    quantizing = exporter(precision="int8", calibration=Calibration(paths=tuple(photos)))
    edgecv.export(sound.deployable, to=quantizing, name=sound.path.suffix[1:], path=sound.path, verify=False)


# What `verify` says of an artifact whose outputs are others, without running it.
FAILED = Report(
    checks=(
        Check(
            runtime="any",
            device="cpu",
            provider="any",
            images=2,
            batch=1,
            output="probabilities",
            max_abs_diff=0.5,
            relative_diff=0.5,
            cosine=0.5,
            tolerance=1e-4,
            worst="noise:0",
            problem="relative difference 5.0e-01 is above 1e-04",
        ),
    )
)
PASSED = Report(checks=(dataclasses.replace(FAILED.checks[0], problem=""),))
