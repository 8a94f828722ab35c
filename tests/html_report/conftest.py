"""Proofs made of arrays alone: verification really compares them, no engine runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from edgecv.html_report.gather import Circumstances, Proof
from edgecv.observed import Run
from edgecv.runtime import Arrays
from edgecv.verification import Head, compare_outputs, make_report

Array = np.ndarray[Any, np.dtype[Any]]

NAMES = ("photo:cat", "photo:rocket", "photo:<b>&\"'", "noise:0")
SIZE = (24, 32)
TOLERANCE = 1e-4
_HEADS: dict[str, dict[str, Any]] = {
    "classification": {"activation": "softmax", "top_k": None},
    "top_k": {"activation": "softmax", "top_k": 2},
    "detection": {
        "activation": "none",
        "top_k": None,
        "nms": {"score_threshold": 0.25, "iou_threshold": 0.5, "max_detections": 3},
        "score_activation": "sigmoid",
    },
    "segmentation": {
        "activation": "none",
        "top_k": None,
        "segmentation": {"channels": 3, "activation": "none", "output_size": list(SIZE)},
    },
    "localisation": {"activation": "softmax", "top_k": None},
    "features": {"activation": "none", "top_k": None},
}


@dataclass(frozen=True)
class _Engine:
    inputs: tuple[Any, ...] = ()
    optional_inputs: tuple[Any, ...] = ()
    outputs: tuple[Any, ...] = ()
    device: str = "cpu"
    provider: str = "Abacus"

    def run(self, feeds: Any) -> Arrays:
        raise NotImplementedError


@pytest.fixture
def make_proof() -> Callable[..., Proof]:
    """Make the proof of an artifact whose values are all off by a share."""
    return _make_proof


@pytest.fixture
def circumstances() -> Circumstances:
    """What else a page says."""
    made = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    return Circumstances(original="the Keras network, run here", command=["edgecv", "verify", "a b.onnx"], made=made)


def _make_proof(
    kind: str = "classification",
    *,
    off: float = 1e-6,
    labels: Sequence[str] = ("cat", "rocket", "flower"),
    change: Callable[[Arrays], Arrays] = lambda given: given,
    **changes: Any,
) -> Proof:
    random = np.random.default_rng(5)
    answers, given = _answers(kind, random, off)
    given = change(given)
    task = {"top_k": "classification"}.get(kind, kind)
    names = [name for name in given if "/" not in name]
    metadata = {
        "edgecv_version": "0.1.0",
        "model": "tiny",
        "task": task,
        "weights": {"source": "random (seed 0)", "sha256": "0" * 64},
        "labels": list(labels),
        "input": {"name": "image", "shape": [1, *SIZE, 3], "dtype": "uint8"},
        "outputs": [
            {"name": name, "shape": [1, *given[name].shape[1:]], "dtype": given[name].dtype.name} for name in names
        ],
        "postprocess": _HEADS[kind],
    }
    pictures = random.integers(0, 256, (len(NAMES), *SIZE, 3), dtype=np.uint8)
    run = Run(
        runtime="abacus",
        device="cpu",
        provider="Abacus",
        batch=1,
        names=NAMES,
        pictures=pictures,
        answers=answers,
        given=given,
        tolerance=TOLERANCE,
    )
    head = Head.of(task, _HEADS[kind])
    compared = compare_outputs(head, answers, given, TOLERANCE, vacuity=False)
    report = make_report(_Engine(), "abacus", compared, NAMES, 1, TOLERANCE)
    proof = Proof(form="onnx", precision="float32", metadata=metadata, report=report, runs=(run,))
    return replace(proof, **changes)


def _answers(kind: str, random: np.random.Generator, off: float) -> tuple[Arrays, Arrays]:
    """Return the answers of both sides; those of the artifact follow from values that are off."""

    def moved(values: Array) -> Array:
        return np.asarray(values + off * np.abs(values).max() * random.uniform(-1, 1, values.shape), np.float32)

    count = len(NAMES)
    if kind in ("classification", "top_k"):
        logits = random.normal(0, 3, (count, 3)).astype(np.float32)
        probabilities, other = _softmax(logits), _softmax(moved(logits))
        if kind == "classification":
            return {"probabilities": probabilities}, {"probabilities": other}
        classes = np.argsort(-other, axis=1)[:, :2].astype(np.int32)
        scores = np.take_along_axis(other, classes, axis=1)
        return {"probabilities": probabilities}, {"scores": scores, "classes": classes}
    if kind == "detection":
        boxes = np.tile(np.array([[0.1, 0.1, 0.4, 0.6], [0.5, 0.2, 0.9, 0.9]], np.float32), (count, 1, 1))
        logits = random.uniform(0.5, 3, (count, 2, 3)).astype(np.float32) * np.array([1, -1, -1], np.float32)
        return _detected(boxes, logits), _detected(moved(boxes), moved(logits))
    if kind == "segmentation":
        scores = random.normal(0, 3, (count, *SIZE, 3)).astype(np.float32)
        return _segmented(scores), _segmented(moved(scores))
    if kind == "localisation":
        logits = random.normal(0, 3, (count, 3)).astype(np.float32)
        box = np.tile(np.array([0.2, 0.2, 0.8, 0.7], np.float32), (count, 1))
        return {"probabilities": _softmax(logits), "box": box}, {
            "probabilities": _softmax(moved(logits)),
            "box": moved(box),
        }
    features = random.normal(0, 3, (count, 7)).astype(np.float32)
    return {"features": features}, {"features": moved(features)}


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits.astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _detected(boxes: Array, logits: Array) -> Arrays:
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    best = np.max(scores, axis=2)
    order = np.argsort(-best, axis=1)
    rows = {
        "boxes": np.take_along_axis(boxes, order[..., None], axis=1),
        "scores": np.take_along_axis(best, order, axis=1),
        "classes": np.take_along_axis(np.argmax(scores, axis=2), order, axis=1).astype(np.int32),
    }
    # A third row, past the two that were found.
    padded = {name: np.pad(values, ((0, 0), (0, 1), *[(0, 0)] * (values.ndim - 2))) for name, values in rows.items()}
    count = np.full((len(boxes),), 2, np.int32)
    return {**padded, "count": count, "pre_nms/boxes": boxes, "pre_nms/scores": scores}


def _segmented(scores: Array) -> Arrays:
    return {"mask": np.argmax(scores, axis=-1).astype(np.int32), "pre_argmax/logits": scores}
