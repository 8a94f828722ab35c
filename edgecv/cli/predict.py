"""``edgecv predict``: answers for pictures."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecv.cli.common import device_option, emit_json, json_option, progress, threads_option, warn
from edgecv.errors import PictureError

if TYPE_CHECKING:
    from edgecv.pictures import Picture
    from edgecv.results import Prediction
    from edgecv.session import Session

__all__ = ["predict"]


_SAVE = (
    "Write the pictures with the answers, and a segmenter's masks beside them as NAME.mask.png: "
    "class numbers, 255 where it saw nothing."
)


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@json_option
@click.option("--save", metavar="DIR", type=click.Path(path_type=Path), help=_SAVE)
@device_option
@threads_option
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Classes to give, best first.")
@click.option("--score-threshold", type=float, metavar="0…1", help="Detection: in place of the baked one.")
@click.option("--iou-threshold", type=float, metavar="0…1", help="Detection: in place of the baked one.")
@click.option("--no-check", is_flag=True, help="Run an artifact whose digest disagrees, too.")
def predict(
    artifact: Path,
    sources: tuple[str, ...],
    as_json: bool,
    save: Path | None,
    device: str,
    threads: int | None,
    top_k: int,
    score_threshold: float | None,
    iou_threshold: float | None,
    no_check: bool,
) -> None:
    """Run ARTIFACT on pictures, folders or globs.

    A picture that cannot be read is named with the reason, the others are answered, and the exit is 2.
    """
    from edgecv.pictures import find_pictures
    from edgecv.quiet import quiet_frameworks
    from edgecv.session import runtime_of
    from edgecv.side_by_side import open_sessions

    runtime_of(artifact)  # a wrong artifact is the first thing to say
    found = find_pictures(sources)
    with quiet_frameworks():
        sessions = open_sessions(
            artifact,
            pictures=len(found),
            device=device,
            threads=threads,
            check=not no_check,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
        )
    if save is not None:  # after all that can be refused: then nothing is written
        _make_folder(save, found)
    answers = _answer_all(sessions, found, top_k, save)
    failed = [answer["error"] for answer in answers if "error" in answer]
    if len(failed) == len(answers) == 1:
        raise PictureError(failed[0])
    if as_json:
        emit_json(answers)
    else:
        _print(answers)
    if failed:
        raise PictureError(f"{len(failed)} of {len(answers)} pictures have no answer. {failed[0]}")


def _answer_all(sessions: "list[Session]", sources: list[str], top_k: int, save: Path | None) -> list[dict[str, Any]]:
    """Answer in the order of the sources."""
    from edgecv.cli.annotate import Gallery
    from edgecv.side_by_side import answer_all

    gallery = Gallery(save) if save is not None else None
    answers: dict[int, dict[str, Any]] = {}
    with progress("Predicting", len(sources)) as step:
        for place, picture, prediction in answer_all(sessions, sources, top_k=top_k):
            if prediction is None or isinstance(picture, PictureError):
                answers[place] = {"source": sources[place], "error": str(picture)}
            else:
                answers[place] = _answer(picture, prediction)
                if gallery is not None:
                    answers[place].update(gallery.add(picture, prediction))
            step()
    return [answers[place] for place in range(len(sources))]


def _answer(picture: "Picture", prediction: "Prediction") -> dict[str, Any]:
    return {
        "source": picture.source,
        "width": picture.width,
        "height": picture.height,
        "milliseconds": prediction.milliseconds,
        "results": prediction.results,
    }


def _make_folder(folder: Path, sources: list[str]) -> None:
    from edgecv.errors import OptionError, OutputError

    # Path.resolve would raise on a symbolic link that leads to itself.
    if any(os.path.dirname(os.path.realpath(source)) == os.path.realpath(folder) for source in sources):  # noqa: PTH120
        raise OptionError(
            f"--save {str(folder)!r} holds the sources, which must not be overwritten. Name another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = error.strerror or error
        raise OutputError(f"Cannot write to {str(folder)!r}: {problem}. Name another folder with --save.") from error


def _print(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        if "error" in answer:
            warn(answer["error"])
            continue
        size = f"{answer['width']}x{answer['height']}"
        files = [answer[name] for name in ("saved", "saved_mask") if name in answer]
        saved = f"  -> {', '.join(files)}" if files else ""
        click.echo(f"{answer['source']}  {size}  {answer['milliseconds']:.1f} ms{saved}")
        for result in answer["results"]:
            click.echo(f"  {_line(result)}")
        if not answer["results"]:
            click.echo("  nothing found")


def _line(result: dict[str, Any]) -> str:
    if "output" in result:
        figures = [f"{key} {result[key]:.6g}" for key in ("min", "max", "mean") if result[key] is not None]
        return f"{result['output']} {result['shape']}  {'  '.join(figures)}"
    name = result["label"] if result["label"] is not None else f"class {result['class']}"
    if "pixels" in result:
        return f"{result['pixels']:>10,}  {name}"
    box = f"  at {', '.join(f'{side:.1f}' for side in result['box'])}" if "box" in result else ""
    there = f"  objectness {result['objectness']:.4f}" if "objectness" in result else ""
    return f"{result['score']:.4f}  {name}{box}{there}"
