"""A Keras network answers through the Session of artifacts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecv
from edgecv.errors import DeviceError, OptionError
from edgecv.keras_session import keras_session, use_threads
from edgecv.metadata import load as parse
from edgecv.pipeline import Original, describe
from edgecv.session import load


def picture(seed: int, size: tuple[int, int] = (30, 40)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["separable", "detector"])
def test_answers_are_those_of_its_artifact(name: str, networks: Any, tmp_path: Path) -> None:
    deployable = networks.deployable(name)
    session = keras_session(deployable)
    artifact = edgecv.export(deployable, to="onnx", path=tmp_path / "x.onnx")
    exported = load(artifact.path)
    for key in ("model", "task", "labels", "input", "outputs", "preprocess", "postprocess", "weights", "graph_resize"):
        assert session.metadata[key] == exported.metadata[key], key
    for seed in range(3):
        given, expected = session.predict(picture(seed)), exported.predict(picture(seed))
        assert [each["class"] for each in given] == [each["class"] for each in expected]
        np.testing.assert_allclose(
            [each["score"] for each in given], [each["score"] for each in expected], rtol=1e-4, atol=1e-6
        )
        boxes = [[each.get("box", []) for each in answers] for answers in (given, expected)]
        np.testing.assert_allclose(boxes[0], boxes[1], rtol=1e-4, atol=1e-3)


def test_it_says_what_it_is(networks: Any) -> None:
    session = keras_session(networks.deployable("separable"))
    assert (session.runtime, session.device, str(session.path)) == ("keras", "cpu", "separable")
    assert session.provider.startswith("Keras 3.")
    assert session.batch_size == 1
    assert session.runner.inputs[0].shape == (None, 24, 24, 3)
    assert session.run(np.zeros((5, 24, 24, 3), np.uint8))["probabilities"].shape == (5, 5)
    assert parse(edgecv_json(session.metadata), Path("x"))["format"] == "keras"


def edgecv_json(document: dict[str, Any]) -> str:
    from edgecv.metadata import dump

    return dump(document)


def test_a_bare_network_gets_preprocessed_pictures(networks: Any) -> None:
    pixels = picture(0)
    whole = keras_session(networks.deployable("separable", input_dtype="uint8")).predict(pixels)
    bare = keras_session(networks.deployable("separable", input_dtype="float32")).predict(pixels)
    assert [each["class"] for each in whole] == [each["class"] for each in bare]
    np.testing.assert_allclose([each["score"] for each in whole], [each["score"] for each in bare], rtol=1e-5)


def test_a_network_of_a_fixed_batch_keeps_it() -> None:
    import keras

    image = keras.Input(batch_shape=(2, 4, 4, 3))
    network = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    session = keras_session(edgecv.deploy(network, preprocess="none", batch=2))
    assert session.batch_size == 2
    reds = [np.full((4, 4, 3), (value, 0, 0), np.uint8) for value in (1, 2, 3)]
    assert [answer[0]["class"] for answer in session.predict(reds)] == [0, 0, 0]


def test_wrong_devices_threads_and_inputs_are_one_line(networks: Any) -> None:
    deployable = networks.deployable("separable")
    with pytest.raises(DeviceError) as unknown:
        keras_session(deployable, device="gpu")
    assert str(unknown.value) == "Keras has no device 'gpu' in edgecv. Use cpu or cuda."
    with pytest.raises(OptionError, match=r"^threads must be at least 1, got 0\.$"):
        use_threads(0)
    keras_session(deployable)  # TensorFlow has run
    with pytest.raises(OptionError) as late:
        use_threads(3)
    assert str(late.value) == "threads of TensorFlow can only be set before it has run. Leave it out."
    with pytest.raises(OptionError, match=r"^Input 'image' takes uint8 \[N, 24, 24, 3\], got uint8 \[1, 9, 9, 3\]\."):
        keras_session(deployable).run(np.zeros((1, 9, 9, 3), np.uint8))


def test_a_device_that_is_not_there_is_one_line(networks: Any) -> None:
    import keras

    if keras.distribution.list_devices("gpu"):
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError) as raised:
        keras_session(networks.deployable("separable"), device="cuda")
    assert str(raised.value) == (
        "Device 'cuda' does not run: Keras sees no GPU. Check the driver with nvidia-smi; "
        "run: pip install 'tensorflow[and-cuda]'"
    )


def test_metadata_of_a_keras_network_are_those_that_artifacts_get(networks: Any) -> None:
    deployable = networks.deployable("separable", batch=None)
    document = describe(Original(deployable, verify=False))
    assert set(document) >= {"edgecv_version", "model", "task", "input", "outputs", "preprocess", "sha256"}
    assert document["outputs"] == [{"name": "probabilities", "shape": [None, 5], "dtype": "float32"}]
