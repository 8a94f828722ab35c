"""GoogLeNet's modules and auxiliary classifiers, AlexNet's and ZFNet's maps, squeeze-and-excitation."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import edgecv
from edgecv import registry
from edgecv.architectures.alexnet import alexnet, zfnet
from edgecv.architectures.auxiliary import without_auxiliary
from edgecv.architectures.blocks import Convolution, Pool, bottleneck_unit, inception_module, squeeze_excitation
from edgecv.architectures.googlenet import googlenet
from edgecv.deployable import ModelInfo
from edgecv.errors import ArchitectureError

SIZE = (65, 65)


@pytest.fixture(scope="module")
def auxiliary() -> Any:
    """GoogLeNet for training, of the smallest size, as the training code builds it."""
    architecture = registry.load_architecture("googlenet")
    network = architecture.build(input_size=SIZE, classes=3, auxiliary=True)
    network.edgecv_info = ModelInfo(
        name="googlenet", task=architecture.task, preprocess=architecture.preprocess, labels=("a", "b", "c")
    )
    return network


def pictures() -> Any:
    return np.random.default_rng(0).uniform(-100, 100, (2, *SIZE, 3)).astype("float32")


def test_alexnet_s_maps_have_the_paper_s_sizes() -> None:
    model = alexnet()
    sides = {name: model.get_layer(name).output.shape[1] for name in ("conv1", "pool1", "pool2", "conv5", "pool5")}
    assert sides == {"conv1": 55, "pool1": 27, "pool2": 13, "conv5": 13, "pool5": 6}


def test_zfnet_s_maps_have_the_paper_s_sizes() -> None:
    model = zfnet()
    sides = {name: model.get_layer(name).output.shape[1] for name in ("conv1", "pool1", "conv2", "pool2", "pool5")}
    assert sides == {"conv1": 110, "pool1": 55, "conv2": 26, "pool2": 13, "pool5": 6}


def test_modules_have_the_channels_and_sides_of_table_1() -> None:
    model = googlenet()
    shapes = {
        layer.name[10:12]: (layer.output.shape[1], layer.output.shape[3])
        for layer in model.layers
        if layer.name.endswith("_concat")
    }
    assert shapes == {
        "3a": (28, 256),
        "3b": (28, 480),
        "4a": (14, 512),
        "4b": (14, 512),
        "4c": (14, 512),
        "4d": (14, 528),
        "4e": (14, 832),
        "5a": (7, 832),
        "5b": (7, 1024),
    }


@pytest.mark.parametrize(("name", "count"), [("googlenet", 13_378_280), ("se_googlenet", 13_378_280 + 480_103)])
def test_auxiliary_classifiers_are_counted(name: str, count: int) -> None:
    # Caffe's bvlc_googlenet in training; the blocks' numbers are derived in test_catalog.py.
    architecture = registry.load_architecture(name)
    assert architecture.auxiliary_weight == 0.3
    assert architecture.build(auxiliary=True).count_params() == count


def test_auxiliary_outputs_have_names_and_follow_the_third_and_sixth_module(auxiliary: Any) -> None:
    assert auxiliary.output_names == ["predictions", "auxiliary1", "auxiliary2"]
    assert [output.shape for output in auxiliary.outputs] == [(None, 3)] * 3
    assert auxiliary.get_layer("auxiliary1_pool").input is auxiliary.get_layer("inception_4a_concat").output
    assert auxiliary.get_layer("auxiliary2_pool").input is auxiliary.get_layer("inception_4d_concat").output
    for probabilities in auxiliary(pictures()):
        np.testing.assert_allclose(np.asarray(probabilities).sum(axis=1), 1, rtol=1e-5)


def test_without_them_the_network_is_the_default_build_with_shared_weights(auxiliary: Any) -> None:
    plain = without_auxiliary(auxiliary)
    default = googlenet((*SIZE, 3), classes=3)
    assert [weight.path for weight in plain.weights] == [weight.path for weight in default.weights]
    assert plain.get_layer("conv1") is auxiliary.get_layer("conv1")
    assert plain.name == auxiliary.name
    assert plain.edgecv_info is auxiliary.edgecv_info
    x = pictures()
    np.testing.assert_array_equal(np.asarray(plain(x)), np.asarray(auxiliary(x)[0]))
    assert without_auxiliary(plain) is plain


def test_their_losses_reach_the_main_path(auxiliary: Any) -> None:
    network = keras.models.clone_model(auxiliary)
    names = network.output_names
    losses = dict.fromkeys(names, "sparse_categorical_crossentropy")
    weights = {name: 1.0 if name == "predictions" else 0.3 for name in names}
    network.compile("sgd", loss=losses, loss_weights=weights)
    labels = np.array([0, 2])
    result = network.evaluate(pictures(), dict.fromkeys(names, labels), verbose=0, return_dict=True)
    total = sum(weights[name] * result[f"{name}_loss"] for name in names)
    assert result["loss"] == pytest.approx(total, rel=1e-5)


def test_deploy_and_fcn_take_them_off(auxiliary: Any) -> None:
    deployable = edgecv.deploy(auxiliary)
    assert (deployable.task, deployable.output_names) == ("classification", ("probabilities",))
    assert deployable.labels == ("a", "b", "c")
    assert len(auxiliary.outputs) == 3
    fcn = edgecv.to_fcn(auxiliary)
    assert fcn.output_names == ["predictions"]


def test_a_file_with_them_deploys_without(auxiliary: Any, tmp_path: Path) -> None:
    edgecv.save_model(auxiliary, tmp_path / "googlenet.keras")
    again = edgecv.open_model(str(tmp_path / "googlenet.keras"))
    assert again.output_names == ["predictions", "auxiliary1", "auxiliary2"]
    assert edgecv.deploy(again).output_names == ("probabilities",)


def test_a_user_s_outputs_of_such_names_stay() -> None:
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, [layers.Dense(2, name="main")(x), layers.Dense(2, name="auxiliary1")(x)])
    assert edgecv.deploy(model, preprocess="none").output_names == ("main", "auxiliary1")


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet18", None, "resnet18 has no auxiliary classifiers. Build it without."),
        (
            "googlenet",
            (64, 100),
            "googlenet with auxiliary classifiers needs an input of at least 65x65 pixels, got 64x100.",
        ),
    ],
)
def test_auxiliary_classifiers_that_cannot_be_are_refused(
    name: str, size: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(ArchitectureError, match=f"^{re.escape(message)}$"):
        registry.load_architecture(name).build(input_size=size, auxiliary=True)


def test_excitation_by_hand() -> None:
    image = keras.Input((2, 2, 2))
    model = keras.Model(image, squeeze_excitation(image, ratio=2, name="se"))
    reduce, excite = model.get_layer("se_reduce"), model.get_layer("se_excite")
    reduce.set_weights([np.array([[[[2.0], [1.0]]]]), np.array([-1.0])])
    excite.set_weights([np.array([[[[1.0, -1.0]]]]), np.array([0.0, 0.5])])
    # Means 2 and 1 → relu(2·2 + 1 − 1) = 4 → sigmoid(4), sigmoid(−3.5).
    x = np.array([[[[1, 0], [3, 2]], [[2, 2], [2, 0]]]], "float32")
    gates = 1 / (1 + np.exp([-4.0, 3.5]))
    np.testing.assert_allclose(np.asarray(model(x)), x * gates, rtol=1e-6)


def test_inception_modules_concatenate_branches_and_forks_in_order() -> None:
    image = keras.Input((7, 7, 3))
    fork = ((Convolution(4, (1, 3)),), (Convolution(5, (3, 1)),))
    branches = ((Convolution(2),), (Convolution(3), fork), (Pool("max"), Convolution(6)), (Pool("average"),))

    def convolution(x: Any, step: Convolution, name: str) -> Any:
        return layers.Conv2D(step.filters, step.kernel, step.stride, padding=step.padding, name=name)(x)

    model = keras.Model(image, inception_module(image, branches, convolution=convolution, name="module"))
    joined = [tensor.shape[-1] for tensor in model.get_layer("module_concat").input]
    assert joined == [2, 4, 5, 6, 3]
    assert model.output_shape == (None, 7, 7, 20)


@pytest.mark.parametrize(("stride", "side"), [(1, 6), (2, 3)])
def test_bottleneck_units_have_four_times_the_filters_and_the_stride_in_the_middle(stride: int, side: int) -> None:
    image = keras.Input((6, 6, 8))
    model = keras.Model(image, bottleneck_unit(image, 2, stride=stride, excitation=4, name="unit"))
    names = [layer.name for layer in model.layers]
    assert model.output_shape == (None, side, side, 8)
    assert model.get_layer("unit_1_conv").strides == (1, 1)
    assert model.get_layer("unit_2_conv").strides == (stride, stride)
    assert ("unit_skip_conv" in names) == (stride == 2)
    assert names.index("unit_3_bn") < names.index("unit_se_scale") < names.index("unit_add")
