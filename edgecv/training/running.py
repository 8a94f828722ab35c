"""A training run from beginning to end: data, network, epochs, scores, plots; and how one goes on.

open_data → check → split ─→ Stream (train, val) ─┐
Settings → task, learner ─────────────────────────┴→ loop.fit → RUN_DIR ─→ evaluate on the test part → plots
"""

import contextlib
import datetime
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv import __version__
from edgecv.data.samples import PARTS, DataTask
from edgecv.errors import EdgecvError, OptionError, OutputError, TrainingError
from edgecv.evaluation.selection import spread
from edgecv.files import writable_folder
from edgecv.pictures import Picture
from edgecv.quiet import quiet_frameworks
from edgecv.training.augmentation import RECIPES, Recipe, read_recipe
from edgecv.training.checkpoint import Progress, read_progress
from edgecv.training.listener import Listener
from edgecv.training.process import check_device, prepared
from edgecv.training.run_data import RunData, read_data
from edgecv.training.run_dir import DIVERGED, RunDir, is_run_dir, read_run
from edgecv.training.settings import Settings
from edgecv.training.tasks import TrainingTask, find_task, learns, monitored, task_of, trainable

if TYPE_CHECKING:
    from edgecv.data.samples import Part
    from edgecv.evaluation.evaluate import Evaluation
    from edgecv.session import Session
    from edgecv.training.network import Learner
    from edgecv.training.stream import Stream

__all__ = ["RunResult", "show_augmented", "train"]

# Settings that say nothing to other tasks.
_SETTINGS_OF_TASKS: Mapping[str, tuple[DataTask, ...]] = {
    "objectness": ("localisation",),
    "sqrt_sizes": ("localisation",),
    "class_loss": ("detection",),
    "anchors": ("detection",),
    "multi_scale": ("detection",),
}
_VERIFIED = 8  # pictures of the data on which exports are verified


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run came to.

    Attributes:
        path: RUN_DIR.
        document: run.json as it is now.
        history: A row an epoch.
        evaluation: Scores on the test part; None where that is empty.
    """

    path: Path
    document: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    evaluation: "Evaluation | None"


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A run that is about to begin or to go on."""

    settings: Settings
    data: RunData
    task: TrainingTask
    recipe: Recipe
    learner: "Learner"
    run_dir: RunDir
    listener: Listener
    device: str


def train(
    settings: Settings,
    output: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    device: str = "cpu",
    cache_bytes: int | None = None,
    listener: Listener | None = None,
) -> RunResult:
    """Train a network into a folder.

    With `Settings.deterministic` TensorFlow's op determinism stays switched on in this process afterwards.

    Args:
        settings: What to train on what, and how.
        output: RUN_DIR.
        resume: Go on with the run that is there, from the end of its last whole epoch; a run that has ended is
            evaluated and drawn again. Settings must be the run's own; the data may have moved.
        force: Replace a run that is there.
        device: ``cpu`` or ``cuda``.
        cache_bytes: Keep the resized pictures of a part in memory if they take no more; None for the default.
        listener: Is told how it goes on.

    Raises:
        DataError: The data cannot be read or cannot teach the task; BrokenDataError: labels are broken.
        TrainingError: Settings, recipe, data or weights differ from those of the run that is resumed, or it diverged;
            DivergedError: the loss is no number.
        OutputError: ``output`` exists, or cannot be written.
        DeviceError: The device does not run.
        EdgecvError: As the network's weights, its options and pictures raise.
    """
    run_dir = RunDir(Path(output))
    listener = listener or Listener()
    if resume:
        _check_goes_on(run_dir, settings)
    else:
        run_dir.check_free(force=force)
    check_device(device)
    _check_architecture(settings)
    recipe = _kept_recipe(run_dir, settings) if resume else read_recipe(settings.augment)
    data = read_data(settings, listener)
    task = _task(settings, data)
    with prepared(settings, device):
        learner = _learner(settings, task, listener)
        job = _Job(
            settings=settings,
            data=data,
            task=task,
            recipe=recipe,
            learner=learner,
            run_dir=run_dir,
            listener=listener,
            device=device,
        )
        return _run(job, resume=resume, force=force, cache_bytes=cache_bytes)


def show_augmented(settings: Settings, path: Path) -> None:
    """Draw what augmentation makes of the training pictures, as PNG; nothing is trained.

    Raises:
        EdgecvError: As `train`, for its data and network; the file cannot be written.
    """
    from edgecv.training.preview import save_preview

    listener = Listener()
    if path.suffix.lower() != ".png":
        raise OptionError(f"show-augmented {str(path)!r} is no PNG. Name a file that ends in .png.")
    _check_architecture(settings)
    recipe = read_recipe(settings.augment)
    writable_folder(path)
    data = read_data(settings, listener)
    task = _task(settings, data)
    with prepared(settings, "cpu"):
        learner = _learner(settings, task, listener)
        streams = _streams(settings, task, learner, recipe, data, None)
        with quiet_frameworks():
            save_preview(streams["train"], path, classes=data.dataset.classes)


def _check_architecture(settings: Settings) -> None:
    """Refuse an architecture, or a task of it, before any data are read."""
    architecture = trainable(settings.architecture)
    if settings.task is not None:
        task_of(architecture, settings, settings.task)


def _task(settings: Settings, data: RunData) -> TrainingTask:
    """Return the task that the labels teach.

    Raises:
        OptionError: A setting is for another task.
        DataError: The labels cannot teach it.
    """
    architecture = trainable(settings.architecture)
    name = task_of(architecture, settings, data.dataset.task)
    for key, tasks in _SETTINGS_OF_TASKS.items():
        default = type(settings).__dataclass_fields__[key].default
        if getattr(settings, key) != default and name not in tasks:
            of_data = f"{settings.architecture} learns {name} from {data.dataset.path!r}"
            other = f", or choose --task {tasks[0]}" if learns(architecture, tasks[0]) else ""
            raise OptionError(
                f"{key.replace('_', '-')} is for {' and '.join(tasks)}, and {of_data}. Leave it out{other}."
            )
    return find_task(name)(data, settings)


def _check_goes_on(run_dir: RunDir, settings: Settings) -> None:
    """Refuse to go on where that would come to something else, or to nothing."""
    record = read_run(run_dir.path)
    stored = Settings.from_json(record["settings"])
    changed = stored.differences(replace(settings, data=stored.data))
    if changed:
        raise TrainingError(
            f"The run {str(run_dir.path)!r} cannot go on with other settings: {', '.join(changed)}. "
            "Leave them out, or train into another -o."
        )
    if record.get("state") == DIVERGED:
        start = f" from its best network with --weights {run_dir.path}" if run_dir.model.exists() else ""
        raise TrainingError(
            f"The run {str(run_dir.path)!r} diverged and would again: {record.get('reason')}. Train into another -o"
            f"{start}, with a lower rate."
        )
    run_dir.check_writable()


def _kept_recipe(run_dir: RunDir, settings: Settings) -> Recipe:
    """Return the recipe that a run began with; the file that it was read from may be gone, but not say other things."""
    kept = Recipe.from_json(read_run(run_dir.path).get("recipe") or read_recipe(settings.augment).to_json())
    if settings.augment in RECIPES or not Path(settings.augment).exists():
        return kept
    before, now = kept.to_json(), read_recipe(settings.augment).to_json()
    changed = [f"{name} {before[name]} -> {now[name]}" for name in before if before[name] != now[name]]
    if changed:
        raise TrainingError(
            f"The run {str(run_dir.path)!r} cannot go on with another recipe: {settings.augment!r} says "
            f"{', '.join(changed)}. Restore it, or train into another -o."
        )
    return kept


def _run(job: _Job, *, resume: bool, force: bool, cache_bytes: int | None) -> RunResult:
    streams = _streams(job.settings, job.task, job.learner, job.recipe, job.data, cache_bytes)
    document = _document(job)
    if not resume:
        # Once more: another process may have begun while the data were read. One that goes on is not replaced.
        job.run_dir.check_free(force=force)
        with job.run_dir.held() if is_run_dir(job.run_dir.path) else contextlib.nullcontext():
            job.run_dir.create(document, _few_pictures(job.data))
    with job.run_dir.held():
        return _held_run(job, streams, document, resume=resume)


def _held_run(job: _Job, streams: "Mapping[Part, Stream]", document: dict[str, Any], *, resume: bool) -> RunResult:
    progress = Progress()
    if resume:
        _check_same(job, document)
        progress = read_progress(job.run_dir.checkpoint) or progress
        job.run_dir.write_record(document)
    from edgecv.training.loop import fit  # with Keras, which `prepared` imports quietly
    from edgecv.training.measuring import measurer
    from edgecv.training.saving import save_learner

    ended = bool(progress.stopped) or progress.epoch >= job.settings.epochs
    if ended:
        job.listener.note(f"the run has ended after epoch {progress.epoch}; it is evaluated and drawn again")
    with _telling_the_end(job, document):
        if not ended:
            fit(
                job.settings,
                job.learner,
                job.task,
                streams,
                job.run_dir,
                progress,
                save_best=lambda: save_learner(job.learner, job.run_dir),
                listener=job.listener,
                measure=measurer(job.task, job.learner, job.data, device=job.device),
            )
        return _finish(job, document, progress)


def _few_pictures(data: RunData) -> list[Picture]:
    """Return pictures evenly from the validation part, else the training part: what the network will see."""
    samples = spread(data.parts["val"] or data.parts["train"], _VERIFIED)
    return [sample.picture.read() for sample in samples]


def _check_same(job: _Job, document: dict[str, Any]) -> None:
    """Compare data and weights with those of the run that goes on, and take over when it began."""
    record = read_run(job.run_dir.path)
    before, now = record.get("data", {}), document["data"]
    if before.get("fingerprint") != now["fingerprint"]:
        raise TrainingError(
            f"The data {now['path']!r} are no longer those of the run {str(job.run_dir.path)!r}: it had "
            f"{before.get('pictures')} labelled pictures, now there are {now['pictures']}, or they differ. "
            "Bring them back, or train into another -o."
        )
    if record.get("weights") != document["weights"]:
        raise TrainingError(
            f"The run {str(job.run_dir.path)!r} began with other weights: {record.get('weights')}, now there are: "
            f"{document['weights']}. Bring them back, or train into another -o."
        )
    if record.get("versions") != document["versions"]:
        job.listener.note("Python, NumPy, Keras or TensorFlow have changed since: the numbers may differ a little")
    document["started"] = record.get("started", document["started"])


@contextlib.contextmanager
def _telling_the_end(job: _Job, document: Mapping[str, Any]) -> Iterator[None]:
    """Note in run.json how a run has ended, where it has not reached its end."""
    from edgecv.training.loop import DivergedError

    try:
        yield
    except KeyboardInterrupt:
        kept = _note_end(job.run_dir, document, "interrupted")
        job.listener.note(
            f"interrupted, {kept} epochs are kept; go on with: edgecv train --resume -o {job.run_dir.path}"
        )
        raise
    except DivergedError as error:
        _note_end(job.run_dir, document, DIVERGED, error.what)
        raise
    except EdgecvError as error:
        _note_end(job.run_dir, document, "failed", str(error))
        raise


def _note_end(run_dir: RunDir, document: Mapping[str, Any], state: str, reason: str | None = None) -> int:
    """Write the state, and return how many epochs the checkpoint keeps: an epoch may have ended without one."""
    kept = (read_progress(run_dir.checkpoint) or Progress()).epoch
    # Where the disk is full this fails, too; what has happened is told all the same.
    with contextlib.suppress(OutputError):
        run_dir.write_record({**document, "state": state, "reason": reason, "epochs": kept})
    return kept


def _learner(settings: Settings, task: TrainingTask, listener: Listener) -> "Learner":
    from edgecv.training.network import make_learner

    with quiet_frameworks():
        learner = make_learner(settings, task)
    for note in (*learner.notes, *task.notes(learner.size)):
        listener.note(note)
    start = learner.info.weights_source if learner.pretrained else "from scratch"
    listener.note(f"{learner.info.name}, {learner.deployable.count_params():,} parameters, {start}")
    return learner


def _streams(
    settings: Settings,
    task: TrainingTask,
    learner: "Learner",
    recipe: Recipe,
    data: RunData,
    cache_bytes: int | None,
) -> "dict[Part, Stream]":
    from edgecv.training.stream import GIBIBYTE, Stream

    return {
        part: Stream(
            data.parts[part],
            size=learner.size,
            channels=learner.channels,
            fit=learner.preprocess.fit,
            targets=task.targets,
            batch=settings.batch,
            recipe=recipe if part == "train" else RECIPES["none"],
            seed=settings.seed,
            shuffle=part == "train",
            cache_bytes=GIBIBYTE if cache_bytes is None else cache_bytes,
            keep_all_boxes=task.name == "localisation",
            scales=settings.multi_scale if part == "train" else None,
        )
        for part in PARTS
        if part != "test" and data.parts[part]
    }


def _document(job: _Job) -> dict[str, Any]:
    """Return run.json as it is at the beginning."""
    info, dataset = job.learner.info, job.data.dataset
    return {
        "edgecv_version": __version__,
        "state": "running",
        "started": _now(),
        "task": job.task.name,
        "architecture": job.settings.architecture,
        "input_size": list(job.learner.size),
        "weights": info.weights_source,
        "preprocess": job.learner.preprocess.to_json(),
        "labels": list(info.labels),
        "parameters": int(job.learner.deployable.count_params()),
        "settings": job.settings.to_json(),
        "recipe": job.recipe.to_json(),
        "data": {
            "path": dataset.path,
            "format": dataset.format,
            "pictures": len(dataset.samples),
            "skipped": dataset.skipped,
            "parts": {part: len(job.data.parts[part]) for part in PARTS},
            "fingerprint": job.data.fingerprint(),
        },
        "versions": _versions(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _versions() -> dict[str, str]:
    import keras
    import numpy as np
    import tensorflow as tf

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _finish(job: _Job, document: dict[str, Any], progress: Progress) -> RunResult:
    """Evaluate what was trained, draw it, and complete run.json."""
    from edgecv.training.plots import draw_history

    if progress.stopped:
        job.listener.note(f"stopped after epoch {progress.epoch}: {progress.stopped}")
    job.run_dir.write_history(progress.history)  # once more: a kill may have come between checkpoint and history
    draw_history(job.run_dir, progress.history, monitored=monitored(job.task, job.data.parts))
    job.task.draw(job.run_dir.plots, job.learner.size)
    evaluation = _evaluate(job) if job.data.parts["test"] or job.data.parts["val"] else None
    document |= {
        "state": "stopped early" if progress.stopped else "finished",
        "finished": _now(),
        "epochs": progress.epoch,
        "stopped": progress.stopped,
        "seconds": round(sum(row["seconds"] for row in progress.history), 1),
        "best": {"epoch": progress.best_epoch, monitored(job.task, job.data.parts): progress.best},
    }
    job.run_dir.write_record(document)
    return RunResult(path=job.run_dir.path, document=document, history=progress.history, evaluation=evaluation)


def _evaluate(job: _Job) -> "Evaluation | None":
    """Measure the best network on the test part, and draw its answers.

    Without a test part the validation part is drawn, but no score of it is given: the best epoch was chosen by it.
    """
    from edgecv.evaluation.evaluate import evaluate
    from edgecv.evaluation.plots import draw_evaluation
    from edgecv.training.plots import draw_predictions

    samples, dataset = job.data.parts["test"] or job.data.parts["val"], job.data.dataset
    session = _session(job)
    with job.listener.working("evaluating", len(samples)) as advance:
        evaluation = evaluate(session, dataset, samples, progress=advance)
    draw_evaluation(evaluation, job.run_dir.plots)
    draw_predictions(job.run_dir, session, dataset, samples)
    if not job.data.parts["test"]:
        job.listener.note("there is no test part: the plots show the validation part")
        return None
    job.run_dir.write_json("evaluation.json", evaluation.to_json())
    return evaluation


def _session(job: _Job) -> "Session":
    from edgecv.models import open_model
    from edgecv.training.measuring import measured_session

    if not job.run_dir.model.exists():
        raise OutputError(f"{str(job.run_dir.model)!r} is missing. Train again with --force.")
    return measured_session(open_model(str(job.run_dir.path)), device=job.device)
