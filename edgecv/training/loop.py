"""The loop of training: epoch by epoch, each of which ends in a checkpoint from which it can go on."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecv.data.samples import Part
from edgecv.errors import TrainingError
from edgecv.quiet import quiet_frameworks
from edgecv.training.checkpoint import Progress, restore, save_checkpoint
from edgecv.training.listener import Listener
from edgecv.training.network import FINE_TUNING, Learner, Stage, quicken_statistics, stages_of, unfreeze
from edgecv.training.run_dir import RunDir
from edgecv.training.settings import Settings
from edgecv.training.stream import Stream
from edgecv.training.tasks import TrainingTask, monitored
from edgecv.training.tensorboard import TensorBoardLog

if TYPE_CHECKING:
    import keras

__all__ = ["DivergedError", "fit"]

_AUXILIARY = "auxiliary"
_MAIN = "predictions"


class DivergedError(TrainingError):
    """The loss is no number any more.

    Attributes:
        what: Which one, and where, without a full stop.
    """

    def __init__(self, what: str, *, epochs: int, option: str, rate: float) -> None:
        self.what = what
        kept = f"The checkpoint of epoch {epochs} is kept." if epochs else "No epoch is done."
        again = "Train into another -o" if epochs else "Train again with --force"
        super().__init__(f"{what}. {kept} {again} and with --{option} below {rate:g}.")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the epochs of a run share."""

    settings: Settings
    learner: Learner
    task: TrainingTask
    streams: Mapping[Part, Stream]
    run_dir: RunDir
    listener: Listener
    save_best: Callable[[], None]
    measure: Callable[[], dict[str, float]] | None
    finish: Callable[..., Any]
    log: TensorBoardLog

    @property
    def monitor(self) -> str:
        """The metric by which the best epoch is chosen."""
        return monitored(self.task, self.streams)


def fit(
    settings: Settings,
    learner: Learner,
    task: TrainingTask,
    streams: Mapping[Part, Stream],
    run_dir: RunDir,
    progress: Progress,
    *,
    save_best: Callable[[], None],
    listener: Listener,
    measure: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train until the last epoch, or until nothing becomes better.

    Args:
        settings: Of the run.
        learner: The network; changed in place.
        task: What it learns.
        streams: ``train``, and ``val`` where there is one.
        run_dir: Where checkpoints, history and logs go.
        progress: Where it stands; with a checkpoint in ``run_dir`` where epochs are done. Is brought up to date.
        save_best: Called when the network is better than ever.
        listener: Is told of steps and epochs.
        measure: Gives more figures of the network at the end of each epoch.

    Raises:
        DivergedError: The loss is no number.
        PictureError: A picture cannot be read.
        OutputError: The disk is full.
    """
    run = _Run(
        settings=settings,
        learner=learner,
        task=task,
        streams=streams,
        run_dir=run_dir,
        listener=listener,
        save_best=save_best,
        measure=measure,
        finish=_finisher(learner, task),
        log=TensorBoardLog(run_dir.log, progress.history),
    )
    stages = stages_of(settings, pretrained=learner.pretrained)
    listener.begin(epochs=settings.epochs, done=progress.epoch, steps=streams["train"].steps)
    try:
        _stages(run, stages, progress)
    finally:
        listener.end()
        run.log.close()


def _stages(run: _Run, stages: Sequence[Stage], progress: Progress) -> None:
    resumed = progress.epoch > 0
    for number, stage in enumerate(stages):
        if progress.stopped or progress.epoch >= stage.first + stage.epochs:
            continue
        _begin_stage(run, stage, number, progress, resumed=resumed)
        resumed = False
        for epoch in range(progress.epoch, stage.first + stage.epochs):
            _epoch(run, stage, epoch, progress)
            if progress.stopped:
                break


def _begin_stage(run: _Run, stage: Stage, number: int, progress: Progress, *, resumed: bool) -> None:
    """Compile for a stage, and take up the checkpoint where training goes on from one."""
    unfreeze(run.learner, stage, run.settings)
    network = run.learner.network
    quicken_statistics(network, run.streams["train"].steps)
    network.compile(optimizer=_optimizer(run, stage), jit_compile=False, **_compilation(run))
    network.optimizer.build(network.trainable_variables)
    if resumed:
        restore(run.run_dir.checkpoint, network, optimizer=number == progress.stage)
    progress.stage = number


def _epoch(run: _Run, stage: Stage, epoch: int, progress: Progress) -> None:
    begin = time.perf_counter()
    logs = _learn(run, stage, epoch)
    if "val" in run.streams:
        logs |= {f"val_{name}": value for name, value in _validate(run).items()}
    _check_finite(run, stage, epoch, logs)
    if run.measure is not None:
        logs |= run.measure()
    rate = _rate(run.learner.network)
    row: dict[str, Any] = {"epoch": epoch + 1, "stage": stage.name, "learning_rate": rate, **logs}
    progress.epoch = epoch + 1
    progress.history.append({**row, "seconds": round(time.perf_counter() - begin, 3)})
    best = _is_better(run, row[run.monitor], progress.best)
    if best:
        progress.best, progress.best_epoch = row[run.monitor], epoch + 1
        run.save_best()
    _stop_early(run, stage, progress)
    save_checkpoint(run.run_dir.checkpoint, run.learner.network, progress)
    run.run_dir.write_history(progress.history)
    run.log.write(row)
    run.listener.epoch(progress.history[-1], best=best)


def _stop_early(run: _Run, stage: Stage, progress: Progress) -> None:
    """Note that nothing has become better for long enough; a stage with another behind it goes on to its end."""
    since = progress.epoch - max(progress.best_epoch, stage.first)
    is_last = stage.first + stage.epochs == run.settings.epochs
    if run.settings.patience and is_last and since >= run.settings.patience:
        progress.stopped = f"no better {run.monitor} in {since} epochs"


def _is_better(run: _Run, value: float, best: float | None) -> bool:
    if best is None:
        return True
    return value > best if run.task.higher_is_better else value < best


def _learn(run: _Run, stage: Stage, epoch: int) -> dict[str, float]:
    stream = run.streams["train"]
    watch = _watch(run, stage, epoch)
    with stream.telling(), quiet_frameworks():
        history = run.learner.network.fit(_batches(run, stream, epoch), epochs=1, verbose=0, callbacks=[watch])
    return _columns({name: values[-1] for name, values in history.history.items()})


def _validate(run: _Run) -> dict[str, float]:
    stream = run.streams["val"]
    with stream.telling(), quiet_frameworks():
        logs = run.learner.network.evaluate(_batches(run, stream, 0), return_dict=True, verbose=0)
    return _columns(logs)


def _columns(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return an epoch's figures under short names: ``predictions_accuracy`` is ``accuracy``, the box's loss its own."""
    found = {}
    for name, value in logs.items():
        if name.startswith(_AUXILIARY):
            continue
        output, _, metric = name.partition("_")
        plain = output in ("predictions", "objectness", "box") and metric and not metric.endswith("loss")
        found[metric if plain and name != "objectness_accuracy" else name] = float(value)
    return found


def _batches(run: _Run, stream: Stream, epoch: int) -> Any:
    """Return an epoch as pictures in the network's scaling, answers and weights, in the order of its outputs."""
    import tensorflow as tf

    return stream.epoch(epoch).map(run.finish, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _finisher(learner: Learner, task: TrainingTask) -> Callable[..., Any]:
    """Return what makes of a stream's batch what the network learns from; traced once, as the stream's own graphs."""
    import tensorflow as tf
    from keras import ops

    names = learner.network.output_names

    def finish(images: Any, targets: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        answers, weights = task.finish(targets, ops.shape(images)[1:3])
        x = learner.preprocess.apply(images, ops)
        ones = ops.ones_like(images[:, 0, 0, 0])
        keys = [_key(name, answers) for name in names]
        # Tuples in the order of the outputs: Keras finds no dictionary's targets for a list of outputs.
        y, weigh = tuple(answers[key] for key in keys), tuple(weights.get(key, ones) for key in keys)
        return (x, y, weigh) if len(names) > 1 else (x, y[0], weigh[0])

    return tf.function(finish, autograph=False)  # type: ignore[no-any-return]  # TensorFlow has no types


def _key(name: str, known: Mapping[str, Any]) -> str:
    """Return what the task calls an output: by its name, or the main one, from which auxiliary ones learn, too."""
    return name if name in known else _MAIN


def _compilation(run: _Run) -> dict[str, Any]:
    names = run.learner.network.output_names
    losses, metrics = run.task.losses(), run.task.metrics()
    keys = [_key(name, losses) for name in names]
    if len(names) == 1:
        return {"loss": losses[keys[0]][0], "weighted_metrics": metrics[keys[0]]}
    auxiliary = [name.startswith(_AUXILIARY) for name in names]
    share = run.learner.auxiliary_weight
    return {
        "loss": [losses[key][0] for key in keys],
        "loss_weights": [share if aside else losses[key][1] for key, aside in zip(keys, auxiliary, strict=True)],
        "weighted_metrics": [[] if aside else metrics[key] for key, aside in zip(keys, auxiliary, strict=True)],
    }


def _optimizer(run: _Run, stage: Stage) -> "keras.Optimizer":
    import keras

    settings, steps = run.settings, run.streams["train"].steps
    rate: Any = stage.rate
    warmup = math.ceil(min(settings.warmup, stage.epochs) * steps)
    if settings.schedule == "cosine" or warmup:
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else stage.rate,
            max(stage.epochs * steps - warmup, 1),
            alpha=0.0 if settings.schedule == "cosine" else 1.0,
            warmup_target=stage.rate if warmup else None,
            warmup_steps=warmup,
        )
    # AdamW and weight decay of the others are one thing in Keras: decoupled from the gradient.
    kind = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "nadam": keras.optimizers.Nadam}
    decay = {"weight_decay": settings.weight_decay} if settings.weight_decay or settings.optimizer == "adamw" else {}
    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **decay)
    return kind[settings.optimizer](rate, **decay)


def _rate(network: "keras.Model") -> float:
    from keras import ops

    return float(ops.convert_to_numpy(network.optimizer.learning_rate))


def _watch(run: _Run, stage: Stage, epoch: int) -> Any:
    """Make the callback that ends training at the step whose loss is no number, and tells of every step."""
    import keras

    steps = run.streams["train"].steps

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            loss = float((logs or {}).get("loss", 0.0))
            if not math.isfinite(loss):
                raise _diverged(stage, epoch, f"The loss is {loss} at step {batch + 1} of {steps} in epoch {epoch + 1}")
            run.listener.step(epoch, batch + 1, loss)

    return Watch()


def _check_finite(run: _Run, stage: Stage, epoch: int, logs: Mapping[str, float]) -> None:
    """Refuse to keep an epoch whose last step broke the network: its own loss was measured before that step."""
    bad = next((name for name, value in logs.items() if not math.isfinite(value)), None)
    if bad is not None:
        raise _diverged(stage, epoch, f"{bad} is {logs[bad]} after {_last_step(run, epoch)}")
    broken = next((each for each in run.learner.network.weights if not _is_finite(each)), None)
    if broken is not None:
        raise _diverged(stage, epoch, f"Weights {broken.path} are no numbers after {_last_step(run, epoch)}")


def _last_step(run: _Run, epoch: int) -> str:
    return f"step {run.streams['train'].steps}, the last of epoch {epoch + 1}"


def _is_finite(variable: Any) -> bool:
    from keras import ops

    return bool(ops.all(ops.isfinite(variable.value)))


def _diverged(stage: Stage, epoch: int, what: str) -> DivergedError:
    option = "fine-tune-rate" if stage.name == FINE_TUNING else "learning-rate"
    return DivergedError(what, epochs=epoch, option=option, rate=stage.rate)
