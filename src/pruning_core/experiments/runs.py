"""Runs on disk: begun, continued or refused, by what their folder holds."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pruning_core.experiments.callbacks import CHECKPOINT_FILE, Callback, Checkpoint
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import CHECKPOINT_FORMAT, Trainer, TrainingError
from pruning_core.experiments.settings import Settings
from pruning_core.export import save_model
from pruning_core.files import make_writable, write_atomically

SUMMARY_FILE = "summary.json"
TRAJECTORY_FILE = "trajectory.json"


def train(
    settings: Settings,
    dataset: Dataset,
    directory: str | Path,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """A run with its files: checkpoint, trajectory, exported model and summary.

    Args:
        settings: of the run.
        dataset: on the device to train on.
        directory: for the files; created if missing.
        resume: continue from the checkpoint in ``directory``, if there is one.
        callbacks: called after every epoch, before the checkpoint is written.

    Returns:
        The summary.

    Raises:
        TrainingError: if the directory cannot be written, already holds a run and ``resume`` is
            false, the checkpoint is damaged or of another run, or the loss diverges.
    """
    directory = Path(directory)
    trainer = Trainer(settings, dataset, [*callbacks, Checkpoint(directory)])
    checkpoint = directory / CHECKPOINT_FILE
    if checkpoint.exists():
        if not resume:
            raise TrainingError(
                f"{directory} already holds a run; continue it with --resume, or choose another "
                "--out"
            )
        trainer.load_state_dict(_read_checkpoint(checkpoint))
    elif (directory / SUMMARY_FILE).exists():
        # As a study leaves its runs.
        raise TrainingError(f"{directory} holds a finished run; choose another --out")
    try:
        make_writable(directory)
    except OSError as error:
        raise TrainingError(
            f"cannot write to {directory}: {error.strerror}; choose another --out"
        ) from error
    model = trainer.fit()
    summary = trainer.summary()
    options = {**settings.model_options(), "num_classes": dataset.num_classes}
    save_model(model, directory, name=settings.model, **options)
    write_atomically(directory / TRAJECTORY_FILE, json.dumps(trainer.trajectory).encode())
    write_atomically(directory / SUMMARY_FILE, json.dumps(summary, indent=2).encode())
    return summary


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); delete it to start over"
        ) from error
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise TrainingError(
            f"{path} is not a checkpoint of this version of pruning-core; delete it to start over"
        )
    return state
