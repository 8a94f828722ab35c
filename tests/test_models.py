"""MODEL on the command line: every kind of file answers as it did, or is refused in one line that says why."""

import contextlib
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import edgecv
from edgecv.deployable import ModelInfo
from edgecv.errors import EdgecvError, ModelError, OptionError, OutputError, UnknownNameError
from edgecv.models import import_module, open_model, save_model
from edgecv.preprocess import STYLES, Fit, Preprocess
from edgecv.quiet import quiet_frameworks

_PICTURES = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)

_CUSTOM = """
import keras

@keras.saving.register_keras_serializable(package="{package}")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


def body(x: Any) -> Any:
    x = layers.Conv2D(2, 3, activation="relu", name="stem")(x)
    return layers.GlobalAveragePooling2D(name="pool")(x)


def functional() -> Any:
    image = keras.Input((8, 8, 3), name="image")
    return keras.Model(image, layers.Dense(4, activation="softmax", name="head")(body(image)), name="functional")


def sequential() -> Any:
    stem, pool, head = layers.Conv2D(2, 3), layers.GlobalAveragePooling2D(), layers.Dense(4)
    return keras.Sequential([keras.Input((8, 8, 3)), stem, pool, head], name="sequential")


def nested() -> Any:
    image = keras.Input((8, 8, 3), name="image")
    inner = keras.Model(layer_input := keras.Input((8, 8, 3)), body(layer_input), name="inner")
    return keras.Model(image, layers.Dense(4, name="head")(inner(image)), name="nested")


def several_outputs() -> Any:
    image = keras.Input((8, 8, 3), name="image")
    x = body(image)
    return keras.Model(image, [layers.Dense(3, name="a")(x), layers.Dense(2, name="b")(x)], name="several")


def dictionary_of_outputs() -> Any:
    image = keras.Input((8, 8, 3), name="image")
    x = body(image)
    return keras.Model(image, {"b": layers.Dense(3)(x), "a": layers.Dense(2)(x)}, name="dictionary")


def two_inputs() -> Any:
    images = [keras.Input((8, 8, 3), name=name) for name in ("left", "right")]
    return keras.Model(images, layers.Add()(images), name="two_inputs")


def with_code() -> Any:
    image = keras.Input((8, 8, 3), name="image")
    return keras.Model(image, layers.Dense(4)(body(layers.Lambda(lambda x: x * 2)(image))), name="with_code")


def save(network: Any, path: Path) -> Path:
    """Save as a user does, without edgecv."""
    with quiet_frameworks():  # Keras warns that HDF5 is old
        network.save(path)
    return path


def answers(network: Any) -> list[Any]:
    return [np.asarray(each) for each in keras.tree.flatten(network(_PICTURES))]


def refused(kind: type[EdgecvError], call: Callable[..., object], *arguments: object, **options: object) -> str:
    with pytest.raises(kind) as raised:
        call(*arguments, **options)
    return str(raised.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
@pytest.mark.parametrize("builder", [functional, sequential, nested, several_outputs, dictionary_of_outputs])
def test_a_users_file_answers_as_its_network(builder: Callable[[], Any], suffix: str, tmp_path: Path) -> None:
    network = builder()
    path = save(network, tmp_path / f"mine{suffix}")
    loaded = open_model(str(path))
    for given, expected in zip(answers(loaded), answers(network), strict=True):
        np.testing.assert_array_equal(given, expected)
    assert loaded.edgecv_info == ModelInfo(name="mine")


def test_a_dictionary_of_outputs_keeps_its_names(tmp_path: Path) -> None:
    network = open_model(str(save(dictionary_of_outputs(), tmp_path / "mine.keras")))
    deployable = edgecv.deploy(network, preprocess="none")
    assert (deployable.output_names, deployable.task) == (("a", "b"), "other")


def test_a_model_that_was_never_called_opens_but_cannot_be_deployed(tmp_path: Path) -> None:
    path = save(keras.Sequential([layers.Conv2D(2, 3)], name="uncalled"), tmp_path / "mine.keras")
    message = refused(ModelError, edgecv.deploy, open_model(str(path)), preprocess="none")
    assert message == "Model 'uncalled' has no known input. Call it once on a picture before saving it."


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    network = open_model(str(save(two_inputs(), tmp_path / "mine.keras")))
    message = refused(ModelError, edgecv.deploy, network, preprocess="none")
    assert message == "Model 'two_inputs' has 2 inputs; edgecv needs one, a batch of pictures."


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_python_code_in_a_lambda_is_refused_and_does_not_run(suffix: str, tmp_path: Path) -> None:
    path = str(save(with_code(), tmp_path / f"mine{suffix}"))
    assert refused(ModelError, open_model, path) == (
        f"{path!r} cannot be loaded: it holds a Lambda layer with Python code, which safe loading refuses. "
        "Replace the Lambda by a registered layer and load that with --import."
    )


def test_a_saved_model_inside_a_file_is_refused_for_what_it_is(tmp_path: Path) -> None:
    inner = open_model(save_signatures(functional(), tmp_path / "inner", {"serving_default": "one"}))
    path = str(save(inner, tmp_path / "mine.keras"))
    assert refused(ModelError, open_model, path) == (
        f"{path!r} cannot be loaded: safe loading refuses it: Requested the deserialization of a `TFSMLayer`, "
        "which loads an external SavedModel. Replace that layer by a registered one and load that with --import."
    )


@pytest.mark.usefixtures("forgotten")
def test_a_layer_called_lambda_is_no_lambda(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable(package="mine")
    class LambdaLike(layers.ReLU):  # type: ignore[misc]
        pass

    image = keras.Input((8, 8, 3), name="image")
    path = str(save(keras.Model(image, layers.Dense(2)(body(LambdaLike()(image)))), tmp_path / "mine.keras"))
    keras.saving.get_custom_objects().clear()
    assert refused(ModelError, open_model, path) == (
        f"{path!r} cannot be loaded: a custom layer is not known: 'LambdaLike'. "
        "Name the module that registers it with --import MODULE."
    )


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Leave no custom layer and no module of this test behind."""
    modules, known = set(sys.modules), dict(keras.saving.get_custom_objects())
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("my_layers"):
            del sys.modules[name]
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(known)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("named", ["file", "module"])
@pytest.mark.usefixtures("forgotten")
def test_a_custom_layer_loads_once_its_module_is_imported(
    named: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = f"my_layers_{named}{suffix[1:]}"
    Path(f"{module}.py").write_text(_CUSTOM.format(package=module))
    import_module(f"{module}.py")
    image = keras.Input((8, 8, 3), name="image")
    network = keras.Model(image, layers.Dense(4)(body(sys.modules[module].Doubled()(image))), name="custom")
    save(network, Path(f"mine{suffix}"))
    keras.saving.get_custom_objects().clear()
    del sys.modules[module]

    assert refused(ModelError, open_model, f"mine{suffix}") == (
        f"'mine{suffix}' cannot be loaded: a custom layer is not known: 'Doubled'. "
        "Name the module that registers it with --import MODULE."
    )
    path = list(sys.path)
    import_module(f"{module}.py" if named == "file" else module)
    assert sys.path == path
    np.testing.assert_array_equal(answers(open_model(f"mine{suffix}"))[0], answers(network)[0])


@pytest.mark.parametrize(
    ("name", "code", "problem"),
    [
        ("my_layers_a.py", "raise RuntimeError('boom\\nbang')", "RuntimeError: boom bang"),
        ("my_layers_b", "raise RuntimeError('boom')", "RuntimeError: boom"),
        ("my_layers_b.py", "import sys; sys.exit(0)", "SystemExit: 0"),
        ("my_layers_b", "raise SystemExit('trained')", "SystemExit: trained"),
        ("my_layers_c.py", "import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("my_layers_d.py", "def", "SyntaxError: invalid syntax (my_layers_d.py, line 1)"),
        ("my_layers_e", None, "ModuleNotFoundError: No module named 'my_layers_e'"),
        (
            "my_layers_f.py",
            None,
            "FileNotFoundError: [Errno 2] No such file or directory: '{folder}/my_layers_f.py'",
        ),
    ],
)
@pytest.mark.usefixtures("forgotten")
def test_a_module_that_cannot_be_imported_is_one_line(
    name: str, code: str | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if code is not None:
        Path(name).with_suffix(".py").write_text(code)
    message = refused(OptionError, import_module, name)
    assert message == f"--import {name!r} cannot be imported: {problem.format(folder=tmp_path)}"
    assert Path(name).stem not in sys.modules


class _Signatures(tf.Module):  # type: ignore[misc]
    """Functions of the kinds that users write by hand."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        pictures = tf.TensorSpec([None, 8, 8, 3], tf.float32, name="pictures")
        self.one = tf.function(lambda pictures: {"scores": network(pictures)}, input_signature=[pictures])
        self.two = tf.function(
            lambda pictures: {"scores": network(pictures), "mean": tf.reduce_mean(pictures, [1, 2])},
            input_signature=[pictures],
        )
        self.pair = tf.function(
            lambda pictures, others: {"scores": network(pictures - others)},
            input_signature=[pictures, tf.TensorSpec([None, 8, 8, 3], tf.float32, name="others")],
        )


def save_signatures(network: Any, path: Path, names: dict[str, str]) -> str:
    module = _Signatures(network)
    with quiet_frameworks():
        tf.saved_model.save(module, str(path), signatures={name: getattr(module, of) for name, of in names.items()})
    return str(path)


def test_what_keras_exports_answers_as_its_network(tmp_path: Path) -> None:
    network = functional()
    with quiet_frameworks():
        network.export(tmp_path / "exported")  # with the signatures "serve" and "serving_default"
    loaded = open_model(str(tmp_path / "exported"))
    np.testing.assert_allclose(answers(loaded)[0], answers(network)[0], rtol=1e-6)
    assert loaded.edgecv_info == ModelInfo(name="exported")
    assert edgecv.deploy(loaded, preprocess="none").input_size == (8, 8)


def test_one_signature_of_any_name_answers_as_the_network(tmp_path: Path) -> None:
    network = functional()
    loaded = open_model(save_signatures(network, tmp_path / "mine", {"classify": "one"}))
    np.testing.assert_allclose(answers(loaded)[0], answers(network)[0], rtol=1e-6)
    deployable = edgecv.deploy(loaded, preprocess="none", activation="softmax")
    assert (deployable.name, deployable.task) == ("mine", "classification")


def test_a_signature_of_two_outputs_keeps_their_names(tmp_path: Path) -> None:
    network = functional()
    loaded = open_model(save_signatures(network, tmp_path / "mine", {"serving_default": "two"}))
    deployable = edgecv.deploy(loaded, preprocess="none", input_dtype="float32")
    given = deployable.run(_PICTURES)
    assert list(given) == ["mean", "scores"]
    np.testing.assert_allclose(given["mean"], _PICTURES.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(given["scores"], answers(network)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("signatures", "message"),
    [
        ({}, "{path!r} must have one serving signature, it has: none. Save it with one."),
        ({"b": "one", "a": "two"}, "{path!r} must have one serving signature, it has: a, b. Save it with one."),
        ({"serving_default": "pair"}, "{path!r} has 2 inputs; edgecv needs one, a batch of pictures."),
    ],
    ids=["none", "two signatures", "two inputs"],
)
def test_a_saved_model_needs_one_signature_of_one_input(
    signatures: dict[str, str], message: str, tmp_path: Path
) -> None:
    path = save_signatures(functional(), tmp_path / "mine", signatures)
    assert refused(ModelError, open_model, path) == message.format(path=path)


def test_a_folder_without_a_saved_model_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "mine.keras"):
        path.mkdir(exist_ok=True)
        assert refused(ModelError, open_model, str(path)) == (
            f"{str(path)!r} is a folder without saved_model.pb or run.json. Give a model file, a run or a SavedModel."
        )


def test_a_damaged_saved_model_is_one_line(tmp_path: Path) -> None:
    path = save_signatures(functional(), tmp_path / "mine", {"serving_default": "one"})
    whole = (tmp_path / "mine" / "saved_model.pb").read_bytes()
    for content in (b"", b"no protobuf", whole[: len(whole) // 2]):
        (tmp_path / "mine" / "saved_model.pb").write_bytes(content)
        message = refused(ModelError, open_model, path)
        assert message.startswith(f"{path!r} cannot be loaded: ")
        assert message.endswith(". Save the model again as .keras.")
        assert "\n" not in message


def _half(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("x.keras", lambda _: b"", "'x.keras' is empty. Save the model again."),
        ("x.h5", lambda _: b"", "'x.h5' is empty. Save the model again."),
        ("x.keras", _half, "'x.keras' is no .keras file, or is cut off. Save the model again."),
        ("x.keras", lambda _: b"text", "'x.keras' is no .keras file, or is cut off. Save the model again."),
        ("x.h5", lambda _: b"some text", "'x.h5' is no HDF5 file. Save the model again."),
        ("x.h5", lambda _: b"\x89HDF", "'x.h5' is no HDF5 file. Save the model again."),
        ("x.txt", lambda _: b"text", "'x.txt' is no model: its name must end in .keras, .h5, .hdf5."),
        ("X.KERAS", lambda path: path.read_bytes(), "'X.KERAS' is no model: its name must end in .keras, .h5, .hdf5."),
        ("x.onnx", lambda _: b"\x08\x08", "'x.onnx' is no model: its name must end in .keras, .h5, .hdf5."),
    ],
)
def test_what_is_certainly_no_model_is_refused(
    name: str, make: Callable[[Path], bytes], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = save(functional(), Path("whole.keras"))
    Path(name).write_bytes(make(whole))
    assert refused(ModelError, open_model, name) == message


def test_what_holds_no_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("zip.keras", "w") as archive:
        archive.writestr("notes.txt", "no network")
    functional().save_weights("only.weights.h5")
    assert refused(ModelError, open_model, "zip.keras") == (
        "'zip.keras' cannot be loaded: \"There is no item named 'config.json' in the archive\". "
        "Save the model again as .keras."
    )
    assert refused(ModelError, open_model, "only.weights.h5") == (
        "'only.weights.h5' cannot be loaded: No model config found in the file at only.weights.h5. "
        "Save the model again as .keras."
    )


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_random_damage_is_one_line_or_harmless(suffix: str, tmp_path: Path) -> None:
    path = save(functional(), tmp_path / f"mine{suffix}")
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    ends = set()
    for _ in range(30):
        damaged = bytearray(whole[: draw.integers(8, len(whole))] if draw.integers(2) else whole)
        for place in draw.integers(8, len(damaged), 20) if len(damaged) > 8 else ():
            damaged[place] = draw.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ModelError):
            open_model(str(path))
            continue
        message = refused(ModelError, open_model, str(path))
        assert "\n" not in message
        ends.add(message.rpartition(". ")[2])
    assert "Save the model again as .keras." in ends
    # Damage in the name of a class makes it a custom layer.
    remedies = {"Save the model again.", "Name the module that registers it with --import MODULE."}
    assert ends <= {"Save the model again as .keras.", *remedies}


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop.keras").symlink_to("loop.keras")  # permission bits would not stop root; this stops anybody
    assert refused(ModelError, open_model, "loop.keras") == (
        "'loop.keras' cannot be read: Too many levels of symbolic links."
    )
    assert refused(ModelError, open_model, "no.keras") == "'no.keras' cannot be read: No such file or directory."
    name = "a" * 300 + ".keras"
    assert refused(ModelError, open_model, name) == f"{name!r} cannot be read: File name too long."


def test_an_unknown_name_comes_with_a_hint() -> None:
    installed = ", ".join(edgecv.architecture_names())
    assert refused(UnknownNameError, open_model, "lenet") == (
        f"Unknown architecture 'lenet'. Did you mean 'lenet5'? Installed: {installed}."
    )
    assert refused(UnknownNameError, open_model, "xyzzy") == f"Unknown architecture 'xyzzy'. Installed: {installed}."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "random"}, "--weights is for an architecture's name; {path!r} is a file with weights of its own."),
        ({"classes": 3}, "--classes is for an architecture's name; {path!r} is a file with weights of its own."),
    ],
)
def test_a_file_has_weights_of_its_own(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = str(save(functional(), tmp_path / "mine.keras"))
    assert refused(OptionError, open_model, path, **options) == message.format(path=path)


def test_a_saved_network_keeps_what_is_known_of_it(tmp_path: Path) -> None:
    network = functional()
    preprocess = Preprocess(
        style="mine", order="bgr", mean=(1.5, 2, 3), scale=(0.5,), fit=Fit(mode="crop", fraction=0.875)
    )
    network.edgecv_info = ModelInfo(
        name="functional",
        task="classification",
        preprocess=preprocess,
        labels=("é", "two", "three", "four"),
        activation="sigmoid",
        weights_source="a paper",
        notes=("said once",),
    )
    save_model(network, tmp_path / "kept.keras")
    loaded = open_model(str(tmp_path / "kept.keras"))
    assert loaded.edgecv_info == ModelInfo(  # a file is called by its own name, and notes are said at building
        name="kept",
        task="classification",
        preprocess=preprocess,
        labels=("é", "two", "three", "four"),
        activation="sigmoid",
        weights_source="a paper",
    )
    np.testing.assert_array_equal(answers(loaded)[0], answers(network)[0])
    np.testing.assert_array_equal(  # and Keras itself still reads it
        answers(keras.models.load_model(tmp_path / "kept.keras"))[0], answers(network)[0]
    )


def test_a_built_network_comes_back_as_it_was(tmp_path: Path) -> None:
    network = edgecv.build("lenet5", weights="random", seed=3)
    save_model(network, tmp_path / "net.keras")
    deployable = edgecv.deploy(open_model(str(tmp_path / "net.keras")))
    assert deployable.name == "net"
    assert deployable.preprocess.to_json() == STYLES["0-1"].to_json()
    assert deployable.weights_source == "random (seed 3)"
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    np.testing.assert_array_equal(
        deployable.run(pictures)["probabilities"], edgecv.deploy(network).run(pictures)["probabilities"]
    )


def test_a_network_that_nothing_is_known_of_is_saved_plainly(tmp_path: Path) -> None:
    save_model(functional(), tmp_path / "plain.keras")
    assert open_model(str(tmp_path / "plain.keras")).edgecv_info == ModelInfo(name="plain")


def test_a_network_is_saved_as_keras_only_and_into_a_folder_that_is_there(tmp_path: Path) -> None:
    message = refused(OptionError, save_model, functional(), tmp_path / "x.h5")
    assert message == "The output must end in .keras, got 'x.h5'."
    path = tmp_path / "no" / "x.keras"
    message = refused(OutputError, save_model, functional(), path)
    assert message == f"Cannot write {str(path)!r}: the folder {str(path.parent)!r} does not exist. Create it first."
    assert list(tmp_path.iterdir()) == []


_INFO: dict[str, Any] = {"name": "x", "task": "classification", "preprocess": None, "labels": [], "weights": "w"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "it is no JSON object"),
        ("7", "it is no JSON object"),
        ("{}", "the key 'task' is missing"),
        ("[" * 100_000, "maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
        ({**_INFO, "labels": 7}, "labels must be a list, got int"),
        ({**_INFO, "labels": "abcd"}, "labels must be a list, got str"),
        (
            {**_INFO, "preprocess": {"x": 1}},
            "preprocess has the unknown key 'x'. Known: mean, order, resize, scale, style",
        ),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ({**_INFO, "task": "dance"}, "unknown task 'dance'"),
        ({**_INFO, "activation": "tanh"}, "unknown activation 'tanh'"),
        ({**_INFO, "preprocess": {"mean": "x"}}, "mean must be one or three finite numbers, got ['x']"),
        ({**_INFO, "preprocess": {"order": "gbr"}}, "channel order must be rgb or bgr, got 'gbr'"),
        ({**_INFO, "preprocess": [1]}, "preprocess must be a JSON object, got list"),
    ],
)
def test_damaged_data_of_edgecv_are_one_line(
    content: bytes | str | dict[str, Any], problem: str, tmp_path: Path
) -> None:
    path = str(save(functional(), tmp_path / "mine.keras"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("edgecv.json", json.dumps(content) if isinstance(content, dict) else content)
    assert refused(ModelError, open_model, path) == (
        f"{path!r} carries damaged edgecv data: {problem}. Build it again."
    )
