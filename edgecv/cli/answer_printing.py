"""How ``predict`` prints its answers: one JSON document, a line of JSON each, or lines for people."""

import json
from typing import Any

from edgecv.cli.common import emit, emit_json, warn
from edgecv.printable import on_one_line, short

__all__ = ["JsonDocument", "print_json_line", "print_lines"]

Answer = dict[str, Any]


class JsonDocument:
    """Keeps the answers until all are there."""

    def __init__(self) -> None:
        self._answers: list[Answer] = []

    def add(self, answer: Answer) -> None:
        """Keep an answer."""
        self._answers.append(answer)

    def emit(self) -> None:
        """Print them as one document."""
        emit_json(self._answers)


def print_json_line(answer: Answer) -> None:
    """Print an answer as one line, at once."""
    emit(json.dumps(answer, allow_nan=False))


def print_lines(answer: Answer) -> None:
    """Print an answer for people: a picture's results line by line, a frame on one line."""
    if "error" in answer:
        warn(answer["error"])
        return
    source = on_one_line(answer["source"])
    size, time = f"{answer['width']}x{answer['height']}", f"{answer['milliseconds']:.1f} ms"
    if "frame" in answer:
        results = ", ".join(_brief(result) for result in answer["results"]) or "nothing found"
        emit(f"{source}  #{answer['frame']}  {answer['seconds']:.3f} s  {size}  {time}  {results}")
        return
    files = [on_one_line(answer[name]) for name in ("saved", "saved_mask") if name in answer]
    saved = f"  -> {', '.join(files)}" if files else ""
    emit(f"{source}  {size}  {time}{saved}")
    for result in answer["results"]:
        emit(f"  {_line(result)}")
    if not answer["results"]:
        emit("  nothing found")


def _line(result: Answer) -> str:
    if "output" in result:
        figures = [f"{key} {result[key]:.6g}" for key in ("min", "max", "mean") if result[key] is not None]
        return f"{result['output']} {result['shape']}  {'  '.join(figures)}"
    if "pixels" in result:
        return f"{result['pixels']:>10,}  {_name(result)}"
    box = f"  at {', '.join(f'{side:.1f}' for side in result['box'])}" if "box" in result else ""
    there = f"  objectness {result['objectness']:.4f}" if "objectness" in result else ""
    return f"{result['score']:.4f}  {_name(result)}{box}{there}"


def _brief(result: Answer) -> str:
    if "output" in result:
        return _line(result)
    if "pixels" in result:
        return f"{_name(result)} {result['pixels']:,}"
    return f"{_name(result)} {result['score']:.2f}"


def _name(result: Answer) -> str:
    return short(str(result["label"])) if result["label"] is not None else f"class {result['class']}"
