"""Detection through the command line: a user's own detector, the real one, every option, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edgecv.cli import cli
from edgecv.decoders import decoder_to_json


@pytest.fixture(scope="module")
def model(networks: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's detector, which says nothing of itself, and its decoder's file beside it."""
    path = tmp_path_factory.mktemp("detector") / "mine.keras"
    network = networks.build("detector")
    network.save(path)
    decoder = {key: value for key, value in decoder_to_json(networks.DETECTOR).items() if value not in ([], None)}
    path.with_name("mine.json").write_text(json.dumps(decoder))
    path.with_name("photo.png").write_bytes(_photo())
    return path


def _photo() -> bytes:
    import io

    from edgecv.photos import shipped_photos

    stream = io.BytesIO()
    Image.fromarray(next(iter(shipped_photos().values()))).save(stream, "PNG")
    return stream.getvalue()


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def run(*arguments: Any) -> Any:
    outcome = invoke(*arguments, "--json")
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


def export(model: Path, folder: Path, *options: Any) -> dict[str, Path]:
    decoder = ["--decoder", model.with_name("mine.json"), "--preprocess", "tf"]
    made = run("export", model, "--to", "onnx", "--to", "tflite", "-o", folder, *decoder, *options)
    for artifact in made["artifacts"]:
        assert artifact["verification"]["passed"]
        assert "box_match" in artifact["verification"]["task"] or "--no-nms" in options
    return {artifact["format"]: Path(artifact["path"]) for artifact in made["artifacts"]}


def boxes(path: Path, picture: Path, *options: Any) -> Any:
    (answer,) = run("predict", path, picture, *options)
    return answer["results"]


def assert_same(first: Any, second: Any) -> None:
    assert [found["class"] for found in first] == [found["class"] for found in second]
    np.testing.assert_allclose([f["score"] for f in first], [f["score"] for f in second], atol=1e-4)
    np.testing.assert_allclose([f["box"] for f in first], [f["box"] for f in second], atol=0.1)


def test_a_user_s_detector_is_exported_with_its_decoder_file(model: Path, tmp_path: Path) -> None:
    made = export(model, tmp_path, "--labels", labels(tmp_path, "one", "two", "three"))
    found = {form: boxes(path, model.with_name("photo.png")) for form, path in made.items()}
    assert found["onnx"]
    assert_same(found["onnx"], found["tflite"])
    assert {each["label"] for each in found["onnx"]} <= {"one", "two", "three"}
    for form, path in made.items():
        document = run("inspect", path)
        assert [output["name"] for output in document["outputs"]] == ["boxes", "scores", "classes", "count"], form
        assert document["custom_ops"] == []
        assert document["postprocess"]["decoder"]["decoder"] == "ssd"
        assert invoke("verify", path).exit_code == 0


def test_verify_against_the_model_takes_the_decoder_from_the_artifact(model: Path, tmp_path: Path) -> None:
    for path in export(model, tmp_path).values():
        report = run("verify", path, "--against", model)
        assert report["passed"]
        assert {check["output"] for check in report["checks"]} == {
            "pre_nms/boxes", "pre_nms/scores", "nms", "detections",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda document: document.pop("postprocess"), "its recorded cases make no sense (KeyError: 'postprocess')"),
        (lambda document: document["postprocess"].pop("top_k"), "postprocess has no key 'top_k'"),
        (lambda document: document["postprocess"].update(nms=5), "nms must be a JSON object, got int"),
        (lambda document: document.update(precision="x"), "'precision' must be one of float32, float16, got 'x'"),
        (
            lambda document: document["verification"].update(cases=[{}]),
            "its recorded cases make no sense (KeyError: 'picture')",
        ),
        (
            lambda document: [case["outputs"].pop("count") for case in document["verification"]["cases"]],
            "its recorded cases lack 'count'",
        ),
        (
            lambda document: [case["outputs"].pop("pre_nms/boxes") for case in document["verification"]["cases"]],
            "its recorded cases lack 'pre_nms/boxes'",
        ),
    ],
)
def test_a_detector_s_damaged_metadata_are_one_line(change: Any, problem: str, model: Path, tmp_path: Path) -> None:
    from edgecv.metadata import seal
    from edgecv.session import runtime_of

    for path in export(model, tmp_path).values():
        runtime = runtime_of(path)[1]
        document = runtime.read_metadata(path)
        change(document)
        seal(path, document, runtime)
        refused(f"{str(path)!r} has damaged edgecv metadata: {problem}. Export it again.", "verify", path)


def test_without_suppression_every_anchor_comes_out_and_predict_suppresses(model: Path, tmp_path: Path) -> None:
    inside = export(model, tmp_path)
    picture = model.with_name("photo.png")
    expected = boxes(inside["onnx"], picture)
    bare = export(model, tmp_path, "--no-nms")
    for path in bare.values():
        shapes = {output["name"]: output["shape"] for output in run("inspect", path)["outputs"]}
        assert shapes == {"boxes": [1, 90, 4], "scores": [1, 90, 3]}
        assert_same(boxes(path, picture), expected)
    # On the host, thresholds are free.
    assert len(boxes(bare["tflite"], picture, "--score-threshold", "0.01")) > len(expected)


def test_thresholds_of_predict(model: Path, tmp_path: Path) -> None:
    made = export(model, tmp_path, "--score-threshold", "0.3")
    picture = model.with_name("photo.png")
    higher = {form: boxes(path, picture, "--score-threshold", "0.5") for form, path in made.items()}
    assert_same(higher["onnx"], higher["tflite"])
    assert all(found["score"] > 0.5 for found in higher["onnx"])
    lower = boxes(made["onnx"], picture, "--score-threshold", "0.1", "--iou-threshold", "0.9")
    assert len(lower) > len(boxes(made["onnx"], picture)) >= len(higher["onnx"])
    refused(
        f"{str(made['tflite'])!r} has score-threshold 0.3 baked in: it cannot become 0.1. "
        "Export it with that, or to a format with optional inputs.",
        "predict", made["tflite"], picture, "--score-threshold", "0.1",
    )  # fmt: skip
    refused(
        f"{str(made['tflite'])!r} has iou-threshold 0.6 baked in: it cannot become 0.5. "
        "Export it with that, or to a format with optional inputs.",
        "predict", made["tflite"], picture, "--iou-threshold", "0.5",
    )  # fmt: skip
    refused("score-threshold must be in 0…1, got 1.5.", "predict", made["onnx"], picture, "--score-threshold", "1.5")


def test_thresholds_of_a_session_can_be_raised_and_lowered_again(model: Path, tmp_path: Path) -> None:
    from edgecv.errors import OptionError
    from edgecv.session import load

    for form, path in export(model, tmp_path, "--score-threshold", "0.3").items():
        session, picture = load(path), model.with_name("photo.png")
        before = session.predict(picture)
        session.set_thresholds(score=0.5)
        assert len(session.predict(picture)) < len(before)
        if form == "tflite":
            with pytest.raises(OptionError, match=r"^'.*' has iou-threshold 0\.6 baked in: it cannot become 0\.5\. "):
                session.set_thresholds(score=0.9, iou=0.5)
            # What is refused changes nothing.
            assert len(session.predict(picture)) > 0
        session.set_thresholds(score=0.3)
        assert session.predict(picture) == before


def test_soft_suppression_has_no_overlap_to_set(model: Path, tmp_path: Path) -> None:
    for path in export(model, tmp_path, "--soft-nms").values():
        refused(
            f"{str(path)!r} has soft suppression, which knows no iou-threshold. Leave it out.",
            "predict", path, model.with_name("photo.png"), "--iou-threshold", "0.5",
        )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        ["--batch", "dynamic", "--max-detections", "500"],
        ["--batch", "2", "--best-class"],
        ["--soft-nms", "--max-detections", "20"],
        ["--class-agnostic", "--pre-nms-top-k", "20"],
        ["--resize", "letterbox", "--batch", "dynamic"],
        ["--resize", "stretch"],
        ["--input", "float32"],
    ],
    ids=" ".join,
)
def test_every_option_verifies_in_both_formats_and_they_agree(options: list[str], model: Path, tmp_path: Path) -> None:
    made = export(model, tmp_path, *options)
    picture = model.with_name("photo.png")
    found = {form: boxes(path, picture) for form, path in made.items()}
    assert found["onnx"]
    assert_same(found["onnx"], found["tflite"])
    for path in made.values():
        assert invoke("verify", path).exit_code == 0


def test_a_dynamic_batch_answers_for_each_picture(model: Path, tmp_path: Path) -> None:
    from edgecv.session import load

    for path in export(model, tmp_path, "--batch", "dynamic").values():
        session = load(path)
        photo = np.asarray(Image.open(model.with_name("photo.png")).convert("RGB"))
        batch = np.concatenate([session.feed([_picture(each)]) for each in (photo, photo[::-1], np.zeros_like(photo))])
        together = session.run(batch)
        for index in range(3):
            alone = session.run(batch[index : index + 1])
            assert together["count"][index] == alone["count"][0]
            np.testing.assert_allclose(together["boxes"][index], alone["boxes"][0], atol=1e-5)


def _picture(pixels: np.ndarray[Any, Any]) -> Any:
    from edgecv.pictures import picture_of_array

    return picture_of_array(np.ascontiguousarray(pixels))


@pytest.mark.parametrize("options", [[], ["--resize", "letterbox"]], ids=["host", "graph"])
def test_boxes_of_a_turned_picture_lie_in_the_upright_one(options: list[str], model: Path, tmp_path: Path) -> None:
    path = export(model, tmp_path, *options)["onnx"]
    upright = Image.open(model.with_name("photo.png")).convert("RGB").crop((0, 0, 128, 90))
    upright.save(tmp_path / "1.png")
    expected = boxes(path, tmp_path / "1.png")
    # What a camera stores for each Exif orientation; Exif 2.3, tag 0x0112.
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright.transpose(turn).save(tmp_path / "turned.png", exif=exif)
        (answer,) = run("predict", path, tmp_path / "turned.png")
        assert (answer["width"], answer["height"]) == (128, 90)
        assert answer["results"] == expected


def test_a_picture_with_boxes_drawn_is_saved(model: Path, tmp_path: Path) -> None:
    path = export(model, tmp_path)["onnx"]
    run("predict", path, model.with_name("photo.png"), "--save", tmp_path / "out")
    after = np.asarray(Image.open(tmp_path / "out" / "photo.png").convert("RGB")).astype(int)
    before = np.asarray(Image.open(model.with_name("photo.png")).convert("RGB")).astype(int)
    # Small pictures are enlarged, so that labels can be read.
    scale = after.shape[0] // before.shape[0]
    before = before.repeat(scale, axis=0).repeat(scale, axis=1)
    assert after.shape == before.shape
    assert 0.005 < np.mean(np.any(before != after, axis=2)) < 0.9


def labels(folder: Path, *names: str) -> Path:
    path = folder / "labels.txt"
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def refused(message: str, *arguments: Any) -> None:
    outcome = invoke(*arguments)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.strip().splitlines()[-1] == f"Error: {message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score-threshold", "1.5"], "score-threshold must be in 0…1, got 1.5."),
        (["--iou-threshold", "-1"], "iou-threshold must be in 0…1, got -1.0."),
        (["--max-detections", "0"], "max-detections must be at least 1, got 0."),
        (["--pre-nms-top-k", "0"], "pre-nms-top-k must be at least 1, got 0."),
        (
            ["--no-nms", "--max-detections", "5"],
            "--max-detections has no meaning with --no-nms. Leave one of them out.",
        ),
        (
            ["--soft-nms", "--iou-threshold", "0.4"],
            "--iou-threshold has no meaning with --soft-nms, which drops no box. Leave one of them out.",
        ),
        (["--no-nms", "--soft-nms"], "--soft-nms has no meaning with --no-nms. Leave one of them out."),
        (["--scales", "1,0.5"], "--scales is for the decoder sliding_window: use it with --fcn or an FCN's file."),
        (["--labels", "LABELS"], "There are 2 labels for 3 classes. Give one label a class."),
        (
            ["--resize", "letterbox", "--input", "float32"],
            "--resize needs pictures as input: use it with --input uint8.",
        ),
        (["--top-k", "3"], "--top-k is for classifiers; this network is no classifier."),
        (["--window", "cell"], "--window is for a classifier that becomes an FCN: use it with --fcn."),
    ],
)
def test_options_that_cannot_work_are_refused(options: list[str], message: str, model: Path, tmp_path: Path) -> None:
    given = [str(labels(tmp_path, "a", "b")) if option == "LABELS" else option for option in options]
    decoder = ["--decoder", model.with_name("mine.json")]
    refused(message, "export", model, "--to", "onnx", "-o", tmp_path / "x.onnx", *decoder, *given)
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchor": 3}, r"decoder 'ssd' has the unknown key 'anchor'\. Known: activation, anchors, .*\."),
        (
            {"decoder": "sdd"},
            r"decoder key 'decoder' must be one of .*, got 'sdd'\. It names the decoder, such as 'ssd'\.",
        ),
        (
            {"feature_maps": [[4, 6], [2, 2]]},
            r"decoder 'ssd': its keys give 84 anchors at 32x48, the network's head has 90\. Change .*\.",
        ),
        ({"outputs": ["boxes", "nothing"]}, r"The decoder's output 'boxes' is none of the network's: .*\."),
    ],
)
def test_a_decoder_file_that_does_not_fit_is_refused(
    change: dict[str, Any], message: str, model: Path, tmp_path: Path
) -> None:
    decoder = {**json.loads(model.with_name("mine.json").read_text()), **change}
    (tmp_path / "wrong.json").write_text(json.dumps(decoder))
    outcome = invoke("export", model, "--to", "onnx", "-o", tmp_path, "--decoder", tmp_path / "wrong.json")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert re.fullmatch(f"Error: {message}", outcome.stderr.strip().splitlines()[-1])
    assert not list(tmp_path.glob("*.onnx"))


def test_a_window_larger_than_the_picture_is_refused(tmp_path: Path) -> None:
    outcome = invoke("export", "lenet5", "--fcn", "--input-size", "16", "--to", "onnx", "-o", tmp_path / "x.onnx")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.strip().splitlines()[-1] == (
        "Error: decoder 'sliding_window': the window of 32x32 pixels is larger than the picture of 16x16. "
        "Choose a larger --input-size or larger scales."
    )


@pytest.mark.parametrize(
    "options",
    [["--score-threshold", "0"], ["--max-detections", "5"], ["--class-agnostic"], ["--soft-nms"], ["--no-nms"]],
)
def test_suppression_of_a_classifier_is_refused(options: list[str], tmp_path: Path) -> None:
    refused(
        f"{options[0]} is for detectors; 'lenet5' is none. "
        "Give --decoder, make one of a classifier with --fcn, or leave it out.",
        "export", "lenet5", "--to", "onnx", "-o", tmp_path / "x.onnx", *options,
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_thresholds_of_a_classifier_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lenet5.onnx"
    run("export", "lenet5", "--to", "onnx", "-o", path)
    picture = tmp_path / "p.png"
    Image.new("L", (32, 32)).save(picture)
    refused(
        f"{str(path)!r} is no detector: it has no score-threshold.",
        "predict", path, picture, "--score-threshold", "0.5",
    )  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--activation", "sigmoid"], ["--window", "cell", "--scales", "1,0.5"]])
def test_an_fcn_s_artifact_is_verified_against_its_classifier_as_it_was_exported(
    options: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "fcn.onnx"
    run("export", "lenet5", "--fcn", "--input-size", "64x80", "--to", "onnx", "-o", path, *options)
    assert run("verify", path, "--against", "lenet5")["passed"]


def test_what_cannot_become_the_artifact_s_fcn_is_not_its_original(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "fcn.onnx"
    run("export", "lenet5", "--fcn", "--input-size", "64x80", "--to", "onnx", "-o", path)
    outcome = invoke("verify", path, "--against", model)
    assert outcome.exit_code == 1
    assert outcome.stderr.strip().splitlines()[-1] == (
        f"Error: {str(path)!r} is not verified: {str(model)!r} cannot be its original: Layer 'concatenate' gives "
        "(None, 90, 4), a list of answers and not one for the whole window."
    )
