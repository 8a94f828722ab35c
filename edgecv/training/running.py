"""A training run from beginning to end: data, network, epochs, scores, plots; and how one goes on.

open_data → check → split ─→ Stream (train, val) ─┐
Settings → task, learner ─────────────────────────┴→ loop.fit → RUN_DIR ─→ evaluate on the test part → plots
"""

import datetime
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv import __version__
from edgecv.data.checking import check_pictures, check_trainable, without
from edgecv.data.problems import BrokenDataError
from edgecv.data.reading import open_data
from edgecv.data.samples import Dataset, Part, Sample
from edgecv.data.splitting import split
from edgecv.errors import DataError, DeviceError, OutputError, TrainingError
from edgecv.extras import import_keras, require
from edgecv.quiet import quiet_frameworks
from edgecv.training.augmentation import Recipe, read_recipe
from edgecv.training.checkpoint import Progress, read_progress
from edgecv.training.listener import Listener
from edgecv.training.run_dir import RunDir, read_run
from edgecv.training.settings import Settings
from edgecv.training.tasks import TrainingTask, find_task

if TYPE_CHECKING:
    from edgecv.evaluation.evaluate import Evaluation
    from edgecv.session import Session
    from edgecv.training.network import Learner
    from edgecv.training.stream import Stream

__all__ = ["RunResult", "data_of_run", "train"]

_PARTS: tuple[Part, ...] = ("train", "val", "test")
_LEAST_CAPABILITY = (7, 0)  # of a GPU with tensor cores


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

    Args:
        settings: What to train on what, and how.
        output: RUN_DIR.
        resume: Go on with the run that is there, from the end of its last whole epoch; a run that has ended is
            evaluated and drawn again.
        force: Replace a run that is there.
        device: ``cpu`` or ``cuda``.
        cache_bytes: Keep the resized pictures of a part in memory if they take no more; None for the default.
        listener: Is told how it goes on.

    Raises:
        DataError: The data cannot be read or cannot teach the task; BrokenDataError: labels are broken.
        TrainingError: Settings or data differ from those of the run that is resumed, or the loss is no number.
        OutputError: ``output`` exists, or cannot be written.
        DeviceError: The device does not run.
        EdgecvError: As the network's weights, its options and pictures raise.
    """
    run_dir = RunDir(Path(output))
    listener = listener or Listener()
    if resume:
        _check_settings(run_dir, settings)
    else:
        run_dir.check_free(force=force)
    dataset, parts = _data(settings, listener)
    task = find_task(settings.task or dataset.task)(dataset, settings)
    recipe = read_recipe(settings.augment)
    _prepare(settings, device)
    learner = _learner(settings, task, dataset)
    streams = _streams(settings, task, learner, recipe, parts, cache_bytes)
    document = _document(settings, task, learner, recipe, dataset, parts)
    progress = Progress()
    if resume:
        _check_data(run_dir, document)
        progress = read_progress(run_dir.checkpoint) or progress
        document["started"] = read_run(run_dir.path).get("started", document["started"])
    else:
        run_dir.create(document)
    from edgecv.training.loop import fit  # with Keras, which `_prepare` imports quietly

    progress = fit(
        settings,
        learner,
        task,
        streams,
        run_dir,
        progress,
        save_best=lambda: _save(learner, run_dir),
        listener=listener,
    )
    return _finish(run_dir, document, progress, task, dataset, parts["test"], listener)


def data_of_run(path: Path, *, data: str | None = None) -> tuple[Dataset, Mapping[Part, tuple[Sample, ...]]]:
    """Return the data that a run was trained on, split as they were then.

    Args:
        path: RUN_DIR.
        data: Where the data are now; None for where they were.
    """
    settings = Settings.from_json(read_run(path)["settings"])
    dataset = open_data(data or settings.data, format=settings.format, skip_broken=settings.skip_broken)
    return dataset, split(dataset, ratios=settings.split, seed=settings.seed)


def _check_settings(run_dir: RunDir, settings: Settings) -> None:
    stored = Settings.from_json(read_run(run_dir.path)["settings"])
    changed = stored.differences(settings)
    if changed:
        raise TrainingError(
            f"The run {str(run_dir.path)!r} cannot go on with other settings: {', '.join(changed)}. "
            "Leave them out, or train into another -o."
        )


def _check_data(run_dir: RunDir, document: Mapping[str, Any]) -> None:
    before, now = read_run(run_dir.path).get("data", {}), document["data"]
    if before.get("fingerprint") != now["fingerprint"]:
        raise TrainingError(
            f"The data {now['path']!r} are no longer those of the run {str(run_dir.path)!r}: it had "
            f"{before.get('pictures')} labelled pictures, now there are {now['pictures']} or their labels differ. "
            "Bring them back, or train into another -o."
        )


def _data(settings: Settings, listener: Listener) -> tuple[Dataset, Mapping[Part, tuple[Sample, ...]]]:
    dataset = open_data(settings.data, format=settings.format, skip_broken=settings.skip_broken)
    check_trainable(dataset)
    listener.note(f"{len(dataset.samples)} pictures of {len(dataset.classes)} classes ({dataset.format})")
    with listener.working("checking pictures", len(dataset.samples)) as advance:
        problems = check_pictures(dataset, progress=advance)
    if problems and not settings.skip_broken:
        raise BrokenDataError(dataset.path, problems)
    dataset = without(dataset, problems)
    if dataset.skipped:
        listener.note(f"{dataset.skipped} broken labels or pictures are left out")
    parts = dict(split(dataset, ratios=settings.split, seed=settings.seed))
    if settings.per_class is not None:
        for part in ("train", "val"):
            parts[part] = _per_class(parts[part], settings.per_class, settings.seed)
    if not parts["train"]:
        raise DataError(f"Nothing is left of {dataset.path!r} to train on. Change --split or give more pictures.")
    if len(parts["train"]) < settings.batch:
        listener.note(f"{len(parts['train'])} training pictures are fewer than a batch of {settings.batch}: one step")
    return dataset, parts


def _per_class(samples: Sequence[Sample], count: int, seed: int) -> tuple[Sample, ...]:
    """Return at most so many samples a class, drawn by the seed, in their old order."""
    import numpy as np

    chosen: list[int] = []
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(samples))
    taken: dict[int, int] = {}
    for index in order:
        sample = samples[index]
        category = sample.category
        if category is None:
            category = min((box.category for box in sample.boxes), default=-1)
        if taken.get(category, 0) < count:
            taken[category] = taken.get(category, 0) + 1
            chosen.append(int(index))
    return tuple(samples[index] for index in sorted(chosen))


def _prepare(settings: Settings, device: str) -> None:
    """Choose device, precision and determinism; they hold for the whole process."""
    require("tensorflow", extra="train", purpose="Training")
    import_keras()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise TrainingError(
            f"Training needs Keras on TensorFlow, KERAS_BACKEND is {keras.backend.backend()!r}. Unset KERAS_BACKEND."
        )
    import tensorflow as tf

    with quiet_frameworks():
        gpus = tf.config.list_physical_devices("GPU")
        if device not in ("cpu", "cuda"):
            raise DeviceError(f"Unknown device {device!r}. Choose cpu or cuda.")
        if device == "cuda" and not gpus:
            raise DeviceError("TensorFlow finds no GPU for --device cuda. Run: pip install 'edgecv[all-gpu]'")
        if device == "cpu" and gpus:
            tf.config.set_visible_devices([], "GPU")
        if settings.deterministic:
            tf.config.experimental.enable_op_determinism()
    half = settings.mixed_precision == "on" or (
        settings.mixed_precision == "auto" and device == "cuda" and _has_tensor_cores(gpus)
    )
    keras.config.set_dtype_policy("mixed_float16" if half else "float32")
    keras.utils.set_random_seed(settings.seed)


def _has_tensor_cores(gpus: Sequence[Any]) -> bool:
    import tensorflow as tf

    details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
    return all(detail.get("compute_capability", (0, 0)) >= _LEAST_CAPABILITY for detail in details)


def _learner(settings: Settings, task: TrainingTask, dataset: Dataset) -> "Learner":
    from edgecv.training.network import make_learner

    with quiet_frameworks():
        return make_learner(settings, task, classes=len(dataset.classes))


def _streams(
    settings: Settings,
    task: TrainingTask,
    learner: "Learner",
    recipe: Recipe,
    parts: Mapping[Part, Sequence[Sample]],
    cache_bytes: int | None,
) -> dict[Part, "Stream"]:
    from edgecv.training.augmentation import RECIPES
    from edgecv.training.stream import GIBIBYTE, Stream

    return {
        part: Stream(
            parts[part],
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
        )
        for part in ("train", "val")
        if parts[part]
    }


def _document(
    settings: Settings,
    task: TrainingTask,
    learner: "Learner",
    recipe: Recipe,
    dataset: Dataset,
    parts: Mapping[Part, Sequence[Sample]],
) -> dict[str, Any]:
    """Return run.json as it is at the beginning."""
    info = learner.info
    return {
        "edgecv_version": __version__,
        "state": "running",
        "started": _now(),
        "task": task.name,
        "architecture": settings.architecture,
        "input_size": list(learner.size),
        "weights": info.weights_source,
        "preprocess": learner.preprocess.to_json(),
        "labels": list(info.labels),
        "parameters": int(learner.deployable.count_params()),
        "settings": settings.to_json(),
        "recipe": recipe.to_json(),
        "data": {
            "path": dataset.path,
            "format": dataset.format,
            "pictures": len(dataset.samples),
            "skipped": dataset.skipped,
            "parts": {part: len(parts[part]) for part in _PARTS},
            "fingerprint": _fingerprint(parts),
        },
        "versions": _versions(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _fingerprint(parts: Mapping[Part, Sequence[Sample]]) -> str:
    """Return the sha256 of all labels, part by part; names without their folders, as data may move."""
    digest = hashlib.sha256()
    for part in _PARTS:
        for sample in parts[part]:
            boxes = [(box.x1, box.y1, box.x2, box.y2, box.category) for box in sample.boxes]
            digest.update(json.dumps([part, Path(sample.name).name, sample.category, boxes]).encode())
    return digest.hexdigest()


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


def _save(learner: "Learner", run_dir: RunDir) -> None:
    """Write the network as it is now to model.keras, in float32."""
    from edgecv.models import save_model

    network = learner.deployable
    if network.dtype_policy.name != "float32" or _is_half(network):
        network = _in_float32(network)
    network.edgecv_info = replace(learner.info, name=run_dir.path.resolve().name)
    save_model(network, run_dir.model)


def _is_half(network: Any) -> bool:
    return any(layer.compute_dtype != "float32" for layer in network.layers)


def _in_float32(network: Any) -> Any:
    """Return a copy that computes in float32: devices choose their precision at export."""
    import keras

    def full(layer: Any) -> Any:
        config = layer.get_config()
        return layer.__class__.from_config({**config, "dtype": "float32"})

    copy = keras.models.clone_model(network, clone_function=full)
    copy.set_weights(network.get_weights())
    return copy


def _finish(
    run_dir: RunDir,
    document: dict[str, Any],
    progress: Progress,
    task: TrainingTask,
    dataset: Dataset,
    test: Sequence[Sample],
    listener: Listener,
) -> RunResult:
    """Evaluate what was trained, draw it, and complete run.json."""
    from edgecv.evaluation.evaluate import evaluate
    from edgecv.training.plots import draw_history, draw_predictions

    if progress.stopped:
        listener.note(f"stopped after epoch {progress.epoch}: {progress.stopped}")
    draw_history(run_dir, progress.history)
    evaluation = None
    if test:
        session = _session(run_dir)
        with listener.working("evaluating", len(test)) as advance:
            evaluation = evaluate(session, dataset, test, progress=advance)
        run_dir.write_json("evaluation.json", evaluation.to_json())
        draw_predictions(run_dir, session, dataset, test)
    document |= {
        "state": "finished",
        "finished": _now(),
        "epochs": progress.epoch,
        "stopped": progress.stopped,
        "seconds": round(sum(row["seconds"] for row in progress.history), 1),
        "best": {"epoch": progress.best_epoch, task.monitor: progress.best},
    }
    run_dir.write_record(document)
    return RunResult(path=run_dir.path, document=document, history=progress.history, evaluation=evaluation)


def _session(run_dir: RunDir) -> "Session":
    from edgecv.deploying import deploy
    from edgecv.keras_session import keras_session
    from edgecv.models import open_model

    if not run_dir.model.exists():
        raise OutputError(f"{str(run_dir.model)!r} is missing. Train again with --force.")
    return keras_session(deploy(open_model(str(run_dir.path)), batch=None))
