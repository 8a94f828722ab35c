"""One class and one box: what the box's numbers mean, in Keras, in both formats, and on pictures of any size."""

import dataclasses
import importlib
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers, ops
from PIL import Image

import edgecv
from edgecv.cli import cli
from edgecv.decoders import AnchorFree, SlidingWindow
from edgecv.deployable import ModelInfo
from edgecv.errors import ModelError, OptionError, VerificationError
from edgecv.localisation import Localisation
from edgecv.models import open_model, save_model
from edgecv.nms import Nms
from edgecv.pictures import place
from edgecv.preprocess import Fit, Preprocess
from edgecv.recorded import verify_recorded
from edgecv.results import interpret

FORMATS = ("onnx", "tflite")
NAMES = ("predictions", "objectness", "box")


def refused(error: type[Exception], message: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def constant(
    box: list[float], *, size: Any = (8, 8), scores: str | None = "softmax", objectness: str | None = None, **info: Any
) -> Any:
    """A localiser of two classes that gives the same box on every picture."""
    image = keras.Input((*size, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="pool")(image)
    outputs = [layers.Dense(2, activation=scores, name="predictions")(x)]
    if objectness is not None:
        outputs.append(layers.Dense(1, activation=objectness, name="objectness")(x))
    outputs.append(
        layers.Dense(4, kernel_initializer="zeros", bias_initializer=keras.initializers.Zeros(), name="box")(x)
    )
    network = keras.Model(image, outputs, name="net")
    network.get_layer("box").bias.assign(box)
    network.edgecv_info = ModelInfo(name="net", preprocess=Preprocess(), **{"localisation": Localisation(), **info})
    return network


@pytest.mark.parametrize(
    ("sqrt_sizes", "box", "corners"),
    [
        # Centre ¼, ½; half as wide, a quarter as high: ¼ ∓ ¼ and ½ ∓ ⅛.
        (False, [0.25, 0.5, 0.5, 0.25], [0.0, 0.375, 0.5, 0.625]),
        # The same box from the square roots of its sides.
        (True, [0.25, 0.5, 0.5**0.5, 0.5], [0.0, 0.375, 0.5, 0.625]),
        # What lies outside the picture is cut off.
        (False, [0.125, 0.75, 0.5, 1.0], [0.0, 0.25, 0.375, 1.0]),
    ],
)
def test_centre_and_sides_become_corners(sqrt_sizes: bool, box: list[float], corners: list[float]) -> None:
    localisation = Localisation(sqrt_sizes=sqrt_sizes)
    scores, objectness = np.array([[0.25, 0.75]], np.float32), np.array([[0.5]], np.float32)
    found = localisation.decode([scores, objectness, np.array([box], np.float32)], ops)
    assert list(found) == ["probabilities", "box", "objectness"]
    np.testing.assert_allclose(np.asarray(found["box"]), [corners], atol=1e-6)
    np.testing.assert_array_equal(found["probabilities"], scores)
    np.testing.assert_array_equal(found["objectness"], objectness)
    assert list(localisation.decode([scores, np.array([box], np.float32)], ops)) == ["probabilities", "box"]


def test_a_sliding_window_over_the_whole_picture_gives_the_same_box() -> None:
    box = np.array([[0.3, 0.6, 0.5, 0.7]], np.float32)
    for sqrt_sizes in (False, True):
        decoder = SlidingWindow(stride=(1, 1), window=(9, 7), box="relative", sqrt_sizes=sqrt_sizes)
        scores = np.ones((1, 1, 1, 2), np.float32)
        boxes, _ = decoder.decode([scores, box.reshape(1, 1, 1, 4)], (9, 7), ops)
        own = Localisation(sqrt_sizes=sqrt_sizes).corners(box, ops)
        np.testing.assert_allclose(np.asarray(boxes)[:, 0], np.asarray(own), atol=1e-6)


def test_its_form_in_json() -> None:
    localisation = Localisation(sqrt_sizes=True, outputs=("a", "b"))
    document = localisation.to_json()
    assert document == {"sqrt_sizes": True, "outputs": ["a", "b"]}
    assert Localisation.from_json(json.loads(json.dumps(document))) == localisation
    assert Localisation.from_json({}) == Localisation()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "localisation must be a JSON object, got list."),
        ({"sqrt": True}, "localisation has the unknown key 'sqrt'. Known: outputs, sqrt_sizes."),
        ({"sqrt_sizes": 1}, "localisation: sqrt_sizes must be true or false, got 1."),
        ({"outputs": [3]}, "localisation: outputs must be a list of texts, got [3]."),
    ],
)
def test_a_broken_form_is_refused(document: Any, message: str) -> None:
    with refused(OptionError, message):
        Localisation.from_json(document)


def test_a_file_carries_it(tmp_path: Path) -> None:
    localisation = Localisation(sqrt_sizes=True, outputs=("predictions", "box"))
    network = constant([0.5] * 4, task="localisation", labels=("one", "two"), localisation=localisation)
    save_model(network, tmp_path / "net.keras")
    info = open_model(str(tmp_path / "net.keras")).edgecv_info
    assert (info.task, info.localisation, info.labels, info.decoder) == (
        "localisation",
        localisation,
        ("one", "two"),
        None,
    )


def test_a_file_with_damaged_localisation_says_so(tmp_path: Path) -> None:
    network = constant([0.5] * 4)
    object.__setattr__(network.edgecv_info.localisation, "sqrt_sizes", "no")
    save_model(network, tmp_path / "net.keras")
    message = (
        f"{str(tmp_path / 'net.keras')!r} carries damaged edgecv data: localisation: sqrt_sizes must be true or false, "
        "got 'no'. Build it again."
    )
    with refused(ModelError, message):
        open_model(str(tmp_path / "net.keras"))


def test_a_localiser_is_deployed_with_its_box_and_objectness() -> None:
    deployable = edgecv.deploy(constant([0.25, 0.5, 0.5, 0.25], objectness="sigmoid"))
    assert deployable.task == "localisation"
    assert deployable.output_names == ("probabilities", "box", "objectness")
    assert deployable.postprocess() == {
        "activation": "softmax",
        "added_activation": "none",
        "top_k": None,
        "localisation": {"sqrt_sizes": False, "outputs": []},
    }
    found = deployable.run(np.zeros((3, 8, 8, 3), np.uint8))
    assert {name: values.shape for name, values in found.items()} == {
        "probabilities": (3, 2),
        "box": (3, 4),
        "objectness": (3, 1),
    }
    np.testing.assert_allclose(found["box"], [[0.0, 0.375, 0.5, 0.625]] * 3, atol=1e-6)


def test_a_user_s_model_is_one_by_the_argument_with_outputs_in_any_order() -> None:
    network = constant([0.25, 0.5, 0.5, 0.25], objectness="sigmoid", localisation=None)
    del network.edgecv_info
    scores, objectness, box = network.outputs
    for outputs in ([box, scores, objectness], {"box": box, "predictions": scores, "objectness": objectness}):
        other = keras.Model(network.inputs[0], outputs)
        deployable = edgecv.deploy(other, preprocess="none", localisation=Localisation(outputs=NAMES))
        found = deployable.run(np.zeros((1, 8, 8, 3), np.uint8))
        np.testing.assert_allclose(found["box"], [[0.0, 0.375, 0.5, 0.625]], atol=1e-6)
        np.testing.assert_allclose(found["probabilities"].sum(), 1, atol=1e-6)


def test_the_task_alone_says_it_too() -> None:
    deployable = edgecv.deploy(constant([0.5] * 4, localisation=None, task="localisation"))
    assert deployable.localisation == Localisation()


@pytest.mark.parametrize(("option", "names"), [("auto", "probabilities"), ("none", "logits")])
def test_softmax_is_added_where_the_class_scores_have_none(option: Any, names: str) -> None:
    deployable = edgecv.deploy(constant([0.5] * 4, scores=None), activation=option)
    assert deployable.output_names == (names, "box")
    scores = deployable.run(np.full((1, 8, 8, 3), 9, np.uint8))[names]
    assert (abs(scores.sum() - 1) < 1e-6) == (option == "auto")


def test_a_localiser_looks_at_the_whole_picture() -> None:
    network = constant([0.5] * 4)
    network.edgecv_info = dataclasses.replace(
        network.edgecv_info, preprocess=Preprocess(fit=Fit(mode="crop", fraction=0.875))
    )
    assert edgecv.deploy(network).preprocess.fit == Fit(mode="letterbox")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"localisation": Localisation(outputs=("predictions", "boxes"))},
            "The localisation's output 'boxes' is none of the network's: predictions, box.",
        ),
        (
            {"localisation": Localisation(outputs=("box", "predictions"))},
            "localisation: the network's outputs (any, 4), (any, 2) do not fit: it needs class scores (any, C), at "
            "most an objectness (any, 1), and a box (any, 4). The key 'outputs' names them in this order.",
        ),
        (
            {"localisation": Localisation(), "decoder": AnchorFree(strides=(8,))},
            "decoder is for many boxes and localisation for one. Leave one of them out.",
        ),
        ({"top_k": 1}, "--top-k is for classifiers; this network is no classifier."),
        ({"labels": ["one"]}, "There are 1 labels for 2 classes. Give one label a class."),
        (
            {"resize": "letterbox", "input_dtype": "float32"},
            "--resize needs pictures as input: use it with --input uint8.",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with refused(OptionError, message):
        edgecv.deploy(constant([0.5] * 4), **options)


def test_an_objectness_without_its_sigmoid_is_refused() -> None:
    message = (
        "localisation: the objectness must come out of a sigmoid, in 'net' its activation is none. "
        "Add the sigmoid to the network."
    )
    with refused(OptionError, message):
        edgecv.deploy(constant([0.5] * 4, objectness="linear"))


@pytest.mark.parametrize(
    ("mode", "corners"),
    [
        # A picture twice as wide as high fills the middle half of a square input: y = ¼ … ¾ of it.
        # Of centre ½, ½ and sides ½, ¼ remains x = ¼ … ¾ and y = (⅜ − ¼) · 2 … (⅝ − ¼) · 2.
        ("letterbox", [0.25, 0.25, 0.75, 0.75]),
        ("stretch", [0.25, 0.375, 0.75, 0.625]),
    ],
)
@pytest.mark.parametrize("form", FORMATS)
def test_with_the_resize_inside_the_box_is_in_the_picture(
    form: str, mode: Any, corners: list[float], tmp_path: Path
) -> None:
    deployable = edgecv.deploy(constant([0.5, 0.5, 0.5, 0.25]), resize=mode)
    picture = np.zeros((1, 20, 40, 3), np.uint8)
    np.testing.assert_allclose(deployable.run(picture)["box"], [corners], atol=1e-6)
    edgecv.export(deployable, to=form, path=tmp_path / f"net.{form}", verify=False)
    session = edgecv.load(tmp_path / f"net.{form}")
    np.testing.assert_allclose(session.run(picture)["box"], [corners], atol=1e-6)
    (result,) = session.predict(picture[0])
    np.testing.assert_allclose(result["box"], np.array(corners) * [40, 20, 40, 20], atol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "options",
    [{"batch": None}, {"resize": "letterbox"}, {"resize": "stretch"}, {"input_dtype": "float32"}],
    ids=["dynamic", "letterbox", "stretch", "float32"],
)
def test_artifacts_answer_like_the_original_and_prove_it_again_without_it(
    options: dict[str, Any], form: str, networks: Any, tmp_path: Path
) -> None:
    deployable = networks.deployable("localiser", labels=list("abcde"), **options)
    artifact = edgecv.export(deployable, to=form, path=tmp_path / f"net.{form}")
    batch = options.get("batch", 1)
    assert [(output.name, output.shape) for output in artifact.outputs] == [
        ("probabilities", (batch, 5)),
        ("box", (batch, 4)),
        ("objectness", (batch, 1)),
    ]
    for report in (artifact.report, edgecv.verify(artifact), edgecv.verify(artifact, against=deployable)):
        assert report is not None
        assert report.passed, report.summary()
        assert report.task == {"top1_agreement": 1.0, "box_match": 1.0}
        assert {check.output for check in report.checks} == {"probabilities", "box", "objectness"}


@pytest.mark.parametrize("form", FORMATS)
def test_recorded_cases_find_another_box(form: str, networks: Any, tmp_path: Path) -> None:
    from edgecv import registry
    from edgecv.metadata import seal

    deployable = networks.deployable("localiser")
    path = edgecv.export(deployable, to=form, path=tmp_path / f"net.{form}").path
    found = registry.runtime_for(path.suffix)
    assert found is not None
    document = found[1].read_metadata(path)
    other = dataclasses.replace(deployable, localisation=dataclasses.replace(deployable.localisation, sqrt_sizes=False))
    edgecv.export(other, to=form, path=path, verify=False)
    seal(path, document, found[1])
    report = verify_recorded(path, document, found[0], found[1], ["cpu"])
    assert {check.output for check in report.checks if not check.passed} == {"box"}


@pytest.mark.parametrize("form", FORMATS)
def test_another_meaning_of_the_box_s_numbers_is_another_network(form: str, networks: Any, tmp_path: Path) -> None:
    deployable = networks.deployable("localiser")
    other = dataclasses.replace(deployable, localisation=dataclasses.replace(deployable.localisation, sqrt_sizes=False))
    artifact = edgecv.export(other, to=form, path=tmp_path / f"net.{form}", verify=False)
    report = edgecv.verify(artifact, against=deployable)
    assert [(check.output, check.problem) for check in report.checks] == [
        ("postprocess", "the artifact's postprocess is not the original's")
    ]


@pytest.mark.parametrize(
    ("head", "output"),
    [("box", "box"), ("objectness", "objectness"), ("predictions", "probabilities")],
)
def test_an_output_that_is_the_same_on_every_picture_proves_nothing(
    head: str, output: str, networks: Any, tmp_path: Path
) -> None:
    network = networks.build("localiser")
    layer = network.get_layer(head)
    layer.set_weights([0 * layer.kernel.numpy(), layer.bias.numpy() + 0.5])
    with pytest.raises(VerificationError) as caught:
        edgecv.export(edgecv.deploy(network, preprocess="0-1"), to="onnx", path=tmp_path / "net.onnx")
    failed = [check for check in caught.value.report.checks if not check.passed]
    assert {check.output for check in failed} == {output}
    assert all("nothing is proven" in check.problem for check in failed)


def test_a_confident_objectness_is_held_to_its_logit(networks: Any, tmp_path: Path) -> None:
    # A sigmoid of −8 is 3e-4, of which ONNX Runtime's error of 1.2e-7 alone is more than 1e-4.
    network = networks.build("localiser")
    layer = network.get_layer("objectness")
    layer.set_weights([layer.kernel.numpy(), layer.bias.numpy() - 8])
    deployable = edgecv.deploy(network, preprocess="0-1")
    for form in FORMATS:
        report = edgecv.export(deployable, to=form, path=tmp_path / f"net.{form}").report
        assert report is not None
        assert report.passed
    layer.set_weights([layer.kernel.numpy(), layer.bias.numpy() + 0.01])
    report = edgecv.verify(tmp_path / "net.onnx", against=edgecv.deploy(network, preprocess="0-1"))
    assert {check.output for check in report.checks if not check.passed} == {"objectness"}


@pytest.mark.parametrize("nms", [Nms(), None], ids=["nms", "no-nms"])
def test_an_fcn_whose_objectness_is_confident_that_nothing_is_there_is_verified(
    nms: Nms | None, networks: Any, tmp_path: Path
) -> None:
    network = networks.build("localiser")
    layer = network.get_layer("objectness")
    layer.set_weights([layer.kernel.numpy(), layer.bias.numpy() - 10])
    fcn = edgecv.to_fcn(network)
    deployable = edgecv.deploy(fcn, preprocess="0-1", input_size=(96, 120), nms=nms)
    for form in FORMATS:
        report = edgecv.export(deployable, to=form, path=tmp_path / f"net.{form}").report
        assert report is not None
        assert report.passed
    convolution = fcn.get_layer("objectness")
    convolution.set_weights([convolution.kernel.numpy(), convolution.bias.numpy() + 0.02])
    report = edgecv.verify(tmp_path / "net.onnx", against=deployable)
    assert "scores" in report.worst.output
    assert "relative difference" in report.worst.problem


def test_a_result_without_softmax_has_its_box_too() -> None:
    outputs = {"logits": np.array([2.0, -1.0]), "box": np.array([0.0, 0.0, 0.5, 0.5])}
    found = interpret(outputs, task="localisation", labels=(), top_k=5, placement=place(Fit(), (20, 40), (20, 40)))
    assert found.results == [{"box": [0.0, 0.0, 20.0, 10.0], "score": 2.0, "class": 0, "label": None}]


@pytest.mark.parametrize("form", FORMATS)
def test_predict_gives_class_and_box_and_draws_it(form: str, tmp_path: Path) -> None:
    network = constant([0.5, 0.5, 0.5, 0.25], objectness="sigmoid", labels=("zero", "one"))
    network.get_layer("predictions").set_weights([np.zeros((3, 2)), np.array([0.0, np.log(3)])])
    network.get_layer("objectness").set_weights([np.zeros((3, 1)), np.zeros(1)])
    edgecv.export(edgecv.deploy(network), to=form, path=tmp_path / f"net.{form}", verify=False)
    Image.new("RGB", (80, 160), "white").save(tmp_path / "white.png")
    arguments = ["predict", str(tmp_path / f"net.{form}"), str(tmp_path / "white.png")]
    outcome = CliRunner().invoke(cli, [*arguments, "--json", "--save", str(tmp_path / "drawn")])
    assert outcome.exit_code == 0, outcome.output
    (result,) = json.loads(outcome.stdout)[0]["results"]
    np.testing.assert_allclose(result.pop("box"), [20, 60, 60, 100], atol=1e-4)
    assert result == {"score": pytest.approx(0.75), "class": 1, "label": "one", "objectness": pytest.approx(0.5)}
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "white.png").convert("RGB")).astype(int)
    height, width, _ = drawn.shape
    coloured = np.argwhere((drawn != 255).any(axis=-1))
    lowest = coloured[coloured[:, 0] == coloured[:, 0].max()] / [height, width]
    # The lower side of the frame: the caption, at the upper one, may be wider than the box.
    np.testing.assert_allclose(lowest.min(axis=0), [100 / 160, 20 / 80], atol=0.02)
    np.testing.assert_allclose(lowest.max(axis=0), [100 / 160, 60 / 80], atol=0.02)
    said = CliRunner().invoke(cli, arguments).stdout.splitlines()[1]
    assert said == "  0.7500  one  at 20.0, 60.0, 60.0, 100.0  objectness 0.5000"


def test_the_standard_metadata_of_tflite_tell_of_it(networks: Any, tmp_path: Path) -> None:
    standard: Any = importlib.import_module("edgecv_tflite.metadata_schema_generated")  # generated code is untyped
    from tensorflow.lite.python import schema_py_generated as schema

    deployable = networks.deployable("localiser", labels=list("abcde"))
    path = edgecv.export(deployable, to="tflite", path=tmp_path / "net.tflite").path
    content = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (entry,) = [each for each in model.metadata if each.name == b"TFLITE_METADATA"]
    packed = bytes(model.buffers[entry.buffer].data)
    metadata = standard.ModelMetadataT.InitFromObj(standard.ModelMetadata.GetRootAs(packed, 0))
    assert metadata.description == b"localisation, exported and verified by edgecv"
    outputs = metadata.subgraphMetadata[0].outputTensorMetadata
    assert [output.name for output in outputs] == [b"probabilities", b"box", b"objectness"]
    assert [[file.name for file in output.associatedFiles or []] for output in outputs] == [[b"labels.txt"], [], []]
    assert all((list(output.stats.min), list(output.stats.max)) == ([0.0], [1.0]) for output in outputs)
