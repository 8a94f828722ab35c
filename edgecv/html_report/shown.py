"""Pictures with the answers of both sides drawn side by side, worst first."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from edgecv.cli.annotate import annotate, background_of
from edgecv.drawing import class_colour, shown_larger, tinted
from edgecv.html_report.answers import MOST_CLASSES, BothAnswers, answer_both, named, without_counterpart
from edgecv.html_report.charts import number
from edgecv.html_report.page import Answer, Picture, Shown, Side
from edgecv.observed import Run
from edgecv.pictures import Picture as Source
from edgecv.results import Prediction
from edgecv.verification import Head

__all__ = ["MOST_BYTES", "show_pictures"]

Array = np.ndarray[Any, np.dtype[Any]]
Results = Sequence[dict[str, Any]]

# Of all JPEG files of a page: in text they grow by a third, and a page has less than 2 MB.
MOST_BYTES = 1_250_000
_MOST_SHOWN = 8
_LONGEST_SIDE = 448
_LARGEST_JPEG = 48_000
_QUALITIES = (85, 70, 55, 40)
_DIFFERENT = np.array((214, 39, 120), np.uint8)


def show_pictures(
    head: Head, run: Run, metadata: Mapping[str, Any], errors: Array | None, *, most_bytes: int = MOST_BYTES
) -> tuple[tuple[Shown, ...], str]:
    """Return the pictures that differ most, and a sentence that says which they are.

    Args:
        head: What the outputs mean.
        run: The answers of both sides.
        metadata: Of the artifact: names of its outputs, labels.
        errors: The largest relative difference of each picture; None where none was measured.
        most_bytes: Of all JPEG files together.
    """
    answers = [answer_both(head, run, metadata, row) for row in range(len(run.names))]
    measured = np.zeros(len(answers)) if errors is None else errors
    # Photos with answers say more than noise and nothing where both sides agree.
    dull = [name.startswith("noise:") or _is_empty(each) for name, each in zip(run.names, answers, strict=True)]
    order = sorted(range(len(answers)), key=lambda row: (-answers[row].disagreement, dull[row], -measured[row]))
    shown: list[Shown] = []
    spent = 0
    for row in order[:_MOST_SHOWN]:
        error = "" if errors is None else number(errors[row])
        each = _shown(run.names[row], _rgb(run.pictures[row]), answers[row], error)
        spent += sum(len(picture.address) * 3 // 4 for picture in _pictures(each))
        if shown and spent > most_bytes:
            break
        shown.append(each)
    return tuple(shown), _which(len(shown), len(answers))


def _is_empty(answers: BothAnswers) -> bool:
    return not any(side is not None and side.results for side in (answers.original, answers.artifact))


def _which(shown: int, total: int) -> str:
    if shown < total:
        return f"The {shown} worst of {total} pictures, worst first."
    return f"All {shown} pictures, worst first." if shown > 1 else "The only picture."


def _pictures(shown: Shown) -> list[Picture]:
    return [each for each in (shown.picture, *(side.picture for side in shown.sides)) if each is not None]


def _shown(name: str, pixels: Array, answers: BothAnswers, error: str) -> Shown:
    original, artifact = answers.original, answers.artifact
    drawn = any(side is not None and _is_drawn(side) for side in (original, artifact))
    lists: list[Results] = [side.results if side is not None else () for side in (original, artifact)]
    sides = [
        _side("Original", name, pixels, original, lists[1] if artifact else None, answers.problems[0]),
        _side("Artifact", name, pixels, artifact, lists[0] if original else None, answers.problems[1]),
    ]
    masks = [side.mask if side is not None else None for side in (original, artifact)]
    if masks[0] is not None and masks[1] is not None and _differ(masks[0], masks[1]):
        sides.append(_differences(name, pixels, masks[0], masks[1]))
    return Shown(
        name=name,
        agrees=answers.agrees,
        agreement=answers.agreement,
        error=error,
        picture=None if drawn else _jpeg(shown_larger(pixels)[0], f"The picture {name}", pixels),
        sides=tuple(sides),
    )


def _is_drawn(prediction: Prediction) -> bool:
    return prediction.mask is not None or any("box" in result for result in prediction.results)


def _side(
    title: str, name: str, pixels: Array, prediction: Prediction | None, other: Results | None, problem: str
) -> Side:
    """Return a side: its answers in words, and where they have a place in the picture, drawn."""
    if prediction is None:
        return Side(title=title, problem=problem)
    alone = without_counterpart(prediction.results, other) if other is not None else [False] * len(prediction.results)
    answers = _answers(prediction, alone)
    picture = None
    if prediction.mask is not None:
        mask = tinted(pixels, prediction.mask, plain=background_of(prediction.results))
        picture = _jpeg(shown_larger(mask)[0], _told(title, name, answers), pixels)
    elif _is_drawn(prediction):
        picture = _jpeg(annotate(Source(pixels), prediction), _told(title, name, answers), pixels)
    return Side(
        title=title,
        picture=picture,
        answers=answers[:MOST_CLASSES],
        more=max(0, len(answers) - MOST_CLASSES),
        problem="" if answers else "No box.",
    )


def _told(title: str, name: str, answers: Sequence[Answer]) -> str:
    """Return the text in the place of a picture with answers."""
    few = ", ".join(f"{answer.label} {answer.text}" for answer in answers[:MOST_CLASSES]) or "nothing"
    return f"{name}, {title.lower()}: {few}"


def _answers(prediction: Prediction, alone: Sequence[bool]) -> tuple[Answer, ...]:
    results = prediction.results
    if prediction.mask is not None:
        return _shares(results, prediction.mask, alone)
    if any("output" in result for result in results):
        return tuple(Answer(label=named(result), text=_summary(result), length=0.0) for result in results)
    scores = [float(result["score"]) for result in results]
    low, high = (0.0, 1.0) if all(0 <= score <= 1 for score in scores) else (min(scores), max(scores))
    return tuple(
        Answer(
            label=named(result),
            text=_score(result),
            length=(score - low) / (high - low) if high > low else 1.0,
            colour=_hexadecimal(result["class"]) if "box" in result else "",
            alone=lonely,
        )
        for result, score, lonely in zip(results, scores, alone, strict=True)
    )


def _shares(results: Results, mask: Array, alone: Sequence[bool]) -> tuple[Answer, ...]:
    plain = background_of(results)
    return tuple(
        Answer(
            label=named(result),
            text=f"{result['pixels'] / mask.size:.2%}",
            length=result["pixels"] / mask.size,
            colour="" if result["class"] == plain else _hexadecimal(result["class"]),
            alone=lonely,
        )
        for result, lonely in zip(results, alone, strict=True)
    )


def _score(result: Mapping[str, Any]) -> str:
    there = f" (object {result['objectness']:.4f})" if "objectness" in result else ""
    return f"{result['score']:.4f}{there}"


def _summary(result: Mapping[str, Any]) -> str:
    if result["mean"] is None:
        return "no finite number"
    return f"{result['min']:.4g} to {result['max']:.4g}, mean {result['mean']:.4g}"


def _hexadecimal(number: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*class_colour(number))


def _differ(one: Array, two: Array) -> bool:
    return one.shape == two.shape and bool(np.any(one != two))


def _differences(name: str, pixels: Array, original: Array, artifact: Array) -> Side:
    """Show the pixels that have another class, on the picture in pale grey."""
    different = original != artifact
    grey = (np.mean(pixels, axis=2) * 0.4 + 150).astype(np.uint8)
    image = np.where(different[..., None], _DIFFERENT, grey[..., None])
    share = float(np.mean(different))
    answer = Answer(label="another class", text=f"{share:.2%}", length=share, colour="#d62778")
    text = f"{name}, pixels of another class: {share:.2%}"
    picture = _jpeg(shown_larger(image.astype(np.uint8))[0], text, pixels)
    return Side(title="Difference", picture=picture, answers=(answer,))


def _rgb(picture: Array) -> Array:
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _jpeg(image: Image.Image, text: str, pixels: Array) -> Picture:
    """Put an image into a data: address: small enough, noise included, that a page of them stays light."""
    small = max(pixels.shape[:2]) * 2 <= max(image.size)
    if max(image.size) > _LONGEST_SIDE:
        image = image.copy()
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    content = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=quality, optimize=True)
        content = buffer.getvalue()
        if len(content) <= _LARGEST_JPEG:
            break
    address = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    return Picture(address=address, width=image.width, height=image.height, text=text, small=small)
