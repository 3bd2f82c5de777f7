"""Runs on disk: begun, continued or refused, by what their folder holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.checkpoint import CHECKPOINT_FILE, Checkpoint, read_checkpoint
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.run import TrainingError
from pruning_core.experiments.settings import Settings
from pruning_core.export import DESCRIPTION_FILE, WEIGHTS_FILE, save_model
from pruning_core.files import clear_partial, make_writable, write_atomically

SUMMARY_FILE = "summary.json"
TRAJECTORY_FILE = "trajectory.json"
RUN_FILES = (CHECKPOINT_FILE, WEIGHTS_FILE, DESCRIPTION_FILE, TRAJECTORY_FILE, SUMMARY_FILE)
LOCK_FILE = ".lock"


def train(
    settings: Settings,
    dataset: Dataset,
    directory: str | Path,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """A run with its files: checkpoint, trajectory, exported model and summary.

    It takes as many threads as torch has been told, and records the number: with another, sums are
    taken in another order, and the weights are others.

    Args:
        settings: of the run.
        dataset: on the device to train on.
        directory: for the files; created if missing.
        resume: continue from the checkpoint in ``directory``, if there is one.
        callbacks: called after every epoch, before the checkpoint is written.

    Returns:
        The summary.

    Raises:
        TrainingError: if the directory cannot be written, holds a run and ``resume`` is false,
            another process trains in it, the checkpoint is damaged or of another run, or the loss
            diverges.
        OSError: naming the file that could not be written; the last checkpoint is still there.
    """
    directory = Path(directory)
    trainer = Trainer(settings, dataset, [*callbacks, Checkpoint(directory)])
    with _alone_in(directory):
        if _to_be_continued(directory, resume):
            _continue(trainer, directory / CHECKPOINT_FILE)
        clear_partial(directory)
        model = trainer.fit()
        summary = trainer.summary()
        options = {**settings.model_options(), "num_classes": dataset.num_classes}
        save_model(model, directory, name=settings.model, **options)
        write_atomically(directory / TRAJECTORY_FILE, json.dumps(trainer.trajectory).encode())
        write_atomically(directory / SUMMARY_FILE, json.dumps(summary, indent=2).encode())
    return summary


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Hold a lock in the folder, which other processes respect and which ends with this one."""
    lock = FileLock(directory / LOCK_FILE, timeout=0)
    try:
        make_writable(directory)
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"another process trains in {directory}; wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"cannot write to {directory}: {error.strerror}; choose another --out"
        ) from error
    try:
        yield
    finally:
        # Before it is free: who waits for a file that has gone opens the next.
        (directory / LOCK_FILE).unlink(missing_ok=True)
        lock.release()


def _to_be_continued(directory: Path, resume: bool) -> bool:
    """Whether there is a checkpoint to go on from.

    Raises:
        TrainingError: if something is there that is not to be overwritten.
    """
    held = [name for name in RUN_FILES if os.path.lexists(directory / name)]
    if CHECKPOINT_FILE in held and not resume:
        raise TrainingError(
            f"{directory} already holds a run; continue it with --resume, or choose another --out"
        )
    if held and CHECKPOINT_FILE not in held:
        raise TrainingError(
            f"{directory} already holds {', '.join(held)}, and no checkpoint to continue from; "
            "choose another --out"
        )
    return bool(held)


def _continue(trainer: Trainer, checkpoint: Path) -> None:
    state = read_checkpoint(checkpoint)
    try:
        trainer.load_state_dict(state)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, TrainingError):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise TrainingError(
            f"{checkpoint} contradicts itself ({reason}); delete it to start over"
        ) from error
