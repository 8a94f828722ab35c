"""The proof of fully convolutional networks: which rules hold of which network, and what it finds."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv import fcn_proof
from edgecv.decoders import SlidingWindow
from edgecv.errors import ModelError, OptionError
from edgecv.fcn_measure import CellCheck, Compared, check
from edgecv.fcn_proof import RULES, prove
from edgecv.preprocess import STYLES
from edgecv.report import Report
from edgecv.weights.random import randomize

Rules = dict[str, CellCheck]
_CONSTANT = "nothing is proven: output 'o' varies by 0.0e+00 between the cells, less than 10 x tolerance x 2.0e+00"
_UNMATCHED = "the cells do not match one to one, or a value is NaN or infinite"
_NONE = "no cell was compared: a receptive field needs sub-pictures above the largest size"
_SAME_RULES = ["training_size", "head_on_windows", "sub_pictures"]


def head(x: Any, *, flat: bool) -> Any:
    x = (layers.Flatten() if flat else layers.GlobalAveragePooling2D())(x)
    x = layers.Dense(8, activation="relu", name="hidden")(x)
    return layers.Dense(5, activation="softmax", name="scores")(x)


def network(padding: str, *, flat: bool = True, gate: bool = False) -> keras.Model:
    """Stride 4; in the window of 24 × 20 pixels, SAME pads on one side only."""
    image = keras.Input((24, 20, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding=padding, use_bias=False, name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    if gate:
        x = layers.Multiply()([x, layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))])
    x = layers.Conv2D(8, 3, padding=padding, activation="relu", name="second")(x)
    x = layers.MaxPooling2D(2, padding=padding, name="pool")(x)
    model = keras.Model(image, head(x, flat=flat), name="small")
    randomize(model, STYLES["tf"])
    return model


def proven(fcn: keras.Model, classifier: keras.Model) -> tuple[Report, Rules]:
    report = prove(fcn, classifier, preprocess=STYLES["tf"])
    return report, {str(one.output): one for one in report.checks if isinstance(one, CellCheck)}


@pytest.mark.parametrize(
    ("padding", "flat", "gate", "window", "rules"),
    [
        ("valid", True, False, "pool", {"crops": 96}),
        ("valid", False, False, "pool", {"crops": 96}),
        # Eight pictures: one cell each at the training size, 3 × 4 on the larger pictures, 3 × 3 shared ones.
        ("same", True, False, "pool", {"training_size": 8, "head_on_windows": 96, "sub_pictures": 72}),
        ("same", False, False, "pool", {"training_size": 8, "head_on_windows": 96, "sub_pictures": 72}),
        ("same", True, True, "pool", {"training_size": 8, "head_on_windows": 96}),
        # The map of 6 × 5 cells grows by 2 × 3.
        ("same", False, False, "cell", {"head_on_windows": 8 * 8 * 8}),
        ("same", False, True, "cell", {"head_on_windows": 8 * 8 * 8}),
    ],
)
def test_each_kind_of_network_has_its_rules(
    padding: str, flat: bool, gate: bool, window: Any, rules: dict[str, int]
) -> None:
    model = network(padding, flat=flat, gate=gate)
    report, checks = proven(edgecv.to_fcn(model, window=window), model)
    assert report.passed, report.to_json()
    if window == "cell" and not gate:
        assert checks.pop("sub_pictures").cells >= 72
    assert {name: one.cells for name, one in checks.items()} == rules
    assert set(checks) <= set(RULES)
    assert any("squeeze-and-excitation" in note for note in report.notes) == gate
    assert any("window cell" in note for note in report.notes) == (window == "cell")


def test_half_precision_has_its_own_tolerance() -> None:
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu", dtype="mixed_float16")(image)
    x = layers.Dense(8, activation="relu", dtype="mixed_float16")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(5, dtype="float32", name="scores")(x))
    randomize(model, STYLES["tf"])
    report, checks = proven(edgecv.to_fcn(model), model)
    assert report.passed, report.to_json()
    assert checks["crops"].tolerance == 5e-3


def test_json_has_the_keys_of_a_report_and_the_cells() -> None:
    model = network("valid")
    document = prove(edgecv.to_fcn(model), model).to_json()
    assert document["passed"] is True
    assert document["task"] == {}
    [one] = document["checks"]
    assert {"runtime", "device", "images", "output", "max_abs_diff", "cosine", "tolerance", "passed"} <= set(one)
    assert (one["runtime"], one["device"], one["images"], one["cells"]) == ("keras", "cpu", 8, 96)
    assert one["tolerance"] == 1e-5
    assert document["notes"] == [
        "The classifier does not say how it wants its pixels: it gets 0…255 RGB (set --preprocess)."
    ]


def _weights(name: str, change: Callable[[Any], Any]) -> Callable[[keras.Model], None]:
    def fault(fcn: keras.Model) -> None:
        layer = fcn.get_layer(name)
        weights = layer.get_weights()
        layer.set_weights([change(weights[0]), *weights[1:]])

    return fault


def _setting(name: str, attribute: str, value: Any) -> Callable[[keras.Model], None]:
    return lambda fcn: setattr(fcn.get_layer(name), attribute, value)


_FAULTS = [
    pytest.param(_weights("hidden", lambda k: k.transpose(1, 0, 2, 3).reshape(k.shape)), id="flatten order"),
    pytest.param(_weights("hidden", lambda k: np.roll(k, 1, axis=0)), id="rows moved"),
    pytest.param(_weights("scores", lambda k: k * 1.002), id="scores scaled"),
    pytest.param(_weights("stem", lambda k: k[:, :, ::-1]), id="channels swapped"),
    pytest.param(_setting("norm", "epsilon", 0.1), id="epsilon"),
    pytest.param(_setting("relu", "max_value", 1.0), id="activation"),
    pytest.param(_setting("scores", "activation", keras.activations.sigmoid), id="last activation"),
    pytest.param(_setting("hidden", "activation", keras.activations.linear), id="hidden activation"),
]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("fault", _FAULTS)
def test_a_planted_fault_is_found(fault: Callable[[keras.Model], None], padding: str) -> None:
    model = network(padding)
    fcn = edgecv.to_fcn(model)
    fault(fcn)
    report, _ = proven(fcn, model)
    assert not report.passed


def test_a_classifier_with_same_padding_differs_from_its_crops() -> None:
    """The rule of VALID networks is not demanded of SAME ones because it is false of them, not because it is slow."""
    model = network("same")
    pair = fcn_proof._pair_of(edgecv.to_fcn(model), model)
    source = fcn_proof._source(pair, model, None, STYLES["tf"])
    measured = check("crops", fcn_proof._crops(pair, source), tolerance=1e-5)
    assert measured.relative_diff > 0.01


def test_a_receptive_field_taken_without_its_padding_is_found_by_the_third_rule() -> None:
    """Cells that see padding in one sub-picture, and picture in the other, do not agree."""
    model = network("same")
    pair = fcn_proof._pair_of(edgecv.to_fcn(model), model)
    source = fcn_proof._source(pair, model, None, STYLES["tf"])
    wrong = dataclasses.replace(pair, field=dataclasses.replace(pair.field, start=(0, 0)))
    assert check("sub_pictures", fcn_proof._sub_pictures(pair, source), tolerance=1e-4).passed
    assert not check("sub_pictures", fcn_proof._sub_pictures(wrong, source), tolerance=1e-4).passed


def test_no_cell_compared_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcn_proof, "_LARGEST_SIDE", 32)
    model = network("same")
    report, checks = proven(edgecv.to_fcn(model), model)
    assert list(checks) == _SAME_RULES
    assert checks["sub_pictures"].cells == 0
    assert checks["sub_pictures"].problem == _NONE
    assert not report.passed


def compared(expected: Any, given: Any) -> Compared:
    return Compared(picture="p", output="o", expected=np.array(expected, float), given=np.array(given, float))


def test_differences_are_relative_to_the_largest_value_of_a_picture() -> None:
    one = check("crops", [compared([[1, 2], [3, -8]], [[1, 2], [3.2, -8]])], tolerance=1e-5)
    assert one.relative_diff == pytest.approx(0.2 / 8)
    assert one.max_abs_diff == pytest.approx(0.2)
    assert (one.cells, one.images) == (2, 1)
    assert one.problem == "relative difference 2.5e-02 is above 1e-05"


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([compared([[1, 2], [1, 2]], [[1, 2], [1, 2]])], _CONSTANT),
        ([compared([[1, np.nan]], [[1, np.nan]])], _UNMATCHED),
        ([compared([[1, 2], [3, 4]], [[1, 2]])], _UNMATCHED),
        ([], _NONE),
    ],
)
def test_what_proves_nothing_fails(parts: list[Compared], problem: str) -> None:
    assert check("crops", parts, tolerance=1e-5).problem == problem


def test_another_classifier_is_contradicted_before_anything_runs() -> None:
    other = keras.Sequential([keras.Input((24, 20, 3)), layers.Flatten(), layers.Dense(7)])
    report = prove(edgecv.to_fcn(network("valid")), other)
    [one] = report.checks
    assert one.output == "grid"
    assert one.problem == "the classifier maps 3 channels to [7] numbers, the FCN 3 channels to [5] numbers"


def test_a_file_that_states_another_grid_is_contradicted() -> None:
    model = network("valid")
    fcn = edgecv.to_fcn(model)
    decoder = fcn.edgecv_info.decoder
    fcn.edgecv_info = dataclasses.replace(
        fcn.edgecv_info, decoder=SlidingWindow(stride=(2, 4), window=decoder.window, outputs=decoder.outputs)
    )
    [one] = prove(fcn, model).checks
    assert one.problem == "the FCN's file says stride 2x4, its layers 4x4"


def test_a_file_that_places_its_cells_elsewhere_is_contradicted() -> None:
    model = network("same", flat=False)
    fcn = edgecv.to_fcn(model, window="cell")
    decoder = dataclasses.replace(fcn.edgecv_info.decoder, offset=(0, 0))
    fcn.edgecv_info = dataclasses.replace(fcn.edgecv_info, decoder=decoder)
    [one] = prove(fcn, model).checks
    assert one.problem == "the FCN's file says offset (0, 0), which is not around what its cells see"


def test_a_softmax_layer_is_taken_off_and_what_lies_before_it_is_compared() -> None:
    model = network("valid")
    model = keras.Model(model.inputs[0], layers.Softmax()(layers.Dense(4, name="last")(model.outputs[0])))
    fcn = edgecv.to_fcn(model)
    assert proven(fcn, model)[0].passed
    kernel, bias = fcn.get_layer("last").get_weights()
    fcn.get_layer("last").set_weights([kernel, bias + 1.0])  # which no softmax shows
    assert not proven(fcn, model)[0].passed


def test_a_classifier_is_no_fcn() -> None:
    model = network("valid")
    message = "'small' is no fully convolutional network: it takes (None, 24, 20, 3). Make one of it with edgecv fcn."
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        prove(model, model)


def test_no_pictures_are_refused() -> None:
    model = network("valid")
    with pytest.raises(OptionError, match=r"^There are no pictures to verify on\. Give at least one\.$"):
        prove(edgecv.to_fcn(model), model, images=[])


def test_activations_are_back_after_the_proof() -> None:
    model = network("valid")
    fcn = edgecv.to_fcn(model)
    prove(fcn, model)
    assert model.get_layer("scores").activation is keras.activations.softmax
    assert fcn.get_layer("scores").activation is keras.activations.softmax


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("lenet5", ["crops"]),
        ("fashion_cnn", _SAME_RULES),
        ("lenet5_original", _SAME_RULES),
        *(
            pytest.param(name, rules, marks=pytest.mark.slow)
            for name, rules in [
                ("alexnet", _SAME_RULES),
                ("densenet121", _SAME_RULES),
                ("efficientnet_b0", _SAME_RULES[:2]),
                *((f"efficientnet_lite{index}", _SAME_RULES) for index in range(3)),
                ("googlenet", _SAME_RULES),
                ("inception_v3", _SAME_RULES),
                ("inception_v4", _SAME_RULES),
                ("mobilenet", _SAME_RULES),
                ("mobilenet_v2", _SAME_RULES),
                *((f"resnet{depth}", _SAME_RULES) for depth in (18, 34, 50, 101, 152)),
                ("se_googlenet", _SAME_RULES[:2]),
                ("se_resnet50", _SAME_RULES[:2]),
                ("vgg16", _SAME_RULES),
                ("vgg19", _SAME_RULES),
                ("xception", _SAME_RULES),
                ("zfnet", _SAME_RULES),
            ]
        ),
    ],
)
def test_every_architecture_is_proven(name: str, rules: list[str]) -> None:
    model = edgecv.build(name, weights="random")
    report = prove(edgecv.to_fcn(model), model)
    assert [one.output for one in report.checks] == rules
    assert report.passed, report.to_json()
