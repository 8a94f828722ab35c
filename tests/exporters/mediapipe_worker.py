"""Ask the real MediaPipe Tasks: a line of JSON in, one out.

In a process of its own: MediaPipe would import the TensorFlow that tests have loaded, and its library may end it.
OpenCV, half of MediaPipe's bytes, draws its pictures; where it is not installed, none are drawn.
"""

import importlib.util
import json
import sys
import types
from typing import Any

sys.modules["tensorflow"] = None  # type: ignore[assignment]
if importlib.util.find_spec("cv2") is None:
    sys.modules["cv2"] = types.ModuleType("cv2")

import mediapipe  # noqa: E402
import numpy as np  # noqa: E402
from mediapipe.tasks.python import BaseOptions, vision  # noqa: E402
from PIL import Image  # noqa: E402


def picture(path: str) -> Any:
    with Image.open(path) as file:
        pixels = np.array(file.convert("RGB"))
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)


def categories(found: Any) -> list[dict[str, Any]]:
    return [{"label": each.category_name, "class": each.index, "score": each.score} for each in found]


def classify(model: Any, pictures: list[str], **options: Any) -> Any:
    settings = vision.ImageClassifierOptions(base_options=model, **options)
    with vision.ImageClassifier.create_from_options(settings) as task:
        answers = [task.classify(picture(path)) for path in pictures]
    return [categories(answer.classifications[0].categories) for answer in answers]


def detect(model: Any, pictures: list[str], **options: Any) -> Any:
    with vision.ObjectDetector.create_from_options(vision.ObjectDetectorOptions(base_options=model, **options)) as task:
        answers = [task.detect(picture(path)) for path in pictures]
    return [[row for each in answer.detections for row in rows(each)] for answer in answers]


def rows(detection: Any) -> list[dict[str, Any]]:
    """Return a detection's classes: of equal boxes MediaPipe makes one detection of several."""
    box = detection.bounding_box
    sides = [box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height]
    return [{"box": sides, **each} for each in categories(detection.categories)]


def segment(model: Any, pictures: list[str], **options: Any) -> Any:
    settings = vision.ImageSegmenterOptions(
        base_options=model, output_category_mask=True, output_confidence_masks=True, **options
    )
    with vision.ImageSegmenter.create_from_options(settings) as task:
        answers = [(task.segment(picture(path)), task.labels) for path in pictures]
        return [
            {
                "labels": labels,
                "mask": answer.category_mask.numpy_view()[..., 0].tolist(),
                "confidences": [mask.numpy_view()[..., 0].tolist() for mask in answer.confidence_masks],
            }
            for answer, labels in answers
        ]


TASKS = {"classify": classify, "detect": detect, "segment": segment}

for line in sys.stdin:
    job = json.loads(line)
    try:
        base = BaseOptions(model_asset_path=job["artifact"])
        answer: Any = {"answers": TASKS[job["task"]](base, job["pictures"], **job["options"])}
    except Exception as error:  # whatever it is, the test compares it
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
