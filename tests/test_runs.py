"""Tests of pruning_core.experiments.runs: what a run finds where its files are to go."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.checkpoint import CHECKPOINT_FILE, read_checkpoint, write_checkpoint
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.run import Run, TrainingError
from pruning_core.experiments.runs import LOCK_FILE, RUN_FILES, SUMMARY_FILE, train
from pruning_core.experiments.settings import Settings

SHORT = Settings(method="dense", epochs=2, batch_size=100)


@pytest.fixture(scope="module")
def tiny(small_mnist: Dataset) -> Dataset:
    """200 training and 100 test images."""
    return replace(
        small_mnist,
        train_images=small_mnist.train_images[:200],
        train_labels=small_mnist.train_labels[:200],
        eval_images=small_mnist.eval_images[:100],
        eval_labels=small_mnist.eval_labels[:100],
    )


class Stop(Callback):
    """Ends the run after its first epoch's checkpoint."""

    def on_step_end(self, run: Run) -> None:
        if run.epoch == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("run")
    train(SHORT, tiny, folder)
    return folder


@pytest.fixture
def stopped(tiny: Dataset, tmp_path: Path) -> Path:
    """The folder of a run that was interrupted in its second epoch."""
    with pytest.raises(KeyboardInterrupt):
        train(SHORT, tiny, tmp_path / "run", callbacks=[Stop()])
    assert [path.name for path in (tmp_path / "run").iterdir()] == [CHECKPOINT_FILE]
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(folder: Path, dataset: Dataset, *, resume: bool = True) -> str:
    """The message; the folder is left alone."""
    before = contents(folder)
    with pytest.raises(TrainingError) as caught:
        train(SHORT, dataset, folder, resume=resume)
    assert contents(folder) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_holds_a_run_is_not_overwritten(finished: Path, tiny: Dataset) -> None:
    assert set(contents(finished)) == set(RUN_FILES)
    message = refused(finished, tiny, resume=False)
    assert "already holds a run; continue it with --resume, or choose another --out" in message


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", [name for name in RUN_FILES if name != CHECKPOINT_FILE])
def test_any_file_of_a_run_keeps_another_out(
    name: str, resume: bool, finished: Path, tiny: Dataset, tmp_path: Path
) -> None:
    """As in a study's runs, which have no checkpoint, or where it was deleted to save room."""
    (tmp_path / name).write_bytes((finished / name).read_bytes())
    message = refused(tmp_path, tiny, resume=resume)
    assert f"already holds {name}, and no checkpoint to continue from; choose another" in message


def test_links_to_nowhere_keep_a_run_out_too(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / SUMMARY_FILE).symlink_to("nowhere")
    with pytest.raises(TrainingError, match="already holds summary"):
        train(SHORT, tiny, tmp_path)


def test_two_runs_do_not_share_a_folder(stopped: Path, tiny: Dataset) -> None:
    with FileLock(stopped / LOCK_FILE):
        assert f"another process trains in {stopped}; wait" in refused(stopped, tiny)


class TrainTwice(Callback):
    """Starts a second run in the folder of the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: list[str] = []

    def on_epoch_end(self, run: Run) -> None:
        with pytest.raises(TrainingError) as caught:
            train(SHORT, run.dataset, self.folder, resume=True)
        self.messages.append(str(caught.value))


def test_the_lock_is_held_from_the_first_epoch_to_the_last(tiny: Dataset, tmp_path: Path) -> None:
    second = TrainTwice(tmp_path)
    summary = train(SHORT, tiny, tmp_path, callbacks=[second])
    assert ["another process trains" in message for message in second.messages] == [True, True]
    assert json.loads((tmp_path / SUMMARY_FILE).read_text()) == summary
    assert set(contents(tmp_path)) == set(RUN_FILES)


def test_a_lock_that_a_killed_run_left_is_free(stopped: Path, tiny: Dataset) -> None:
    (stopped / LOCK_FILE).touch()
    (stopped / f".{CHECKPOINT_FILE}.0123.partial").touch()
    train(SHORT, tiny, stopped, resume=True)
    assert set(contents(stopped)) == set(RUN_FILES)


def test_a_run_goes_on_with_its_own_data_only(stopped: Path, tiny: Dataset) -> None:
    for changes, message in (
        ({"train_images": tiny.train_images[:150], "train_labels": tiny.train_labels[:150]},
         "training_examples 200 there, 150 here"),
        ({"eval_images": tiny.eval_images[:50], "eval_labels": tiny.eval_labels[:50]},
         "evaluation_examples 100 there, 50 here"),
        ({"train_labels": tiny.train_labels.roll(1)}, "examples_sha256 '"),
        ({"eval_labels": tiny.eval_labels.roll(1)}, "examples_sha256 '"),
        ({"train_images": tiny.train_images * 0.5}, "examples_sha256 '"),
        ({"name": "other"}, "dataset 'mnist-6000' there, 'other' here"),
    ):  # fmt: skip
        other = replace(tiny, **changes)
        assert f"the checkpoint is of another run: {message}" in refused(stopped, other)
    train(SHORT, replace(tiny, train_images=tiny.train_images.clone()), stopped, resume=True)


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_the_number_of_threads_is_recorded_and_kept(
    tiny: Dataset, tmp_path: Path, two_threads: None
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SHORT, tiny, tmp_path, callbacks=[Stop()])
    torch.set_num_threads(1)
    assert "the checkpoint is of another run: threads 2 there, 1 here" in refused(tmp_path, tiny)
    torch.set_num_threads(2)
    assert train(SHORT, tiny, tmp_path, resume=True)["threads"] == 2


@pytest.mark.parametrize("content", [b"", b"\x00" * 99, b"half", b"other"])
def test_a_damaged_checkpoint_is_named(
    content: bytes, finished: Path, tiny: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(content)
    if content == b"half":
        whole = (finished / CHECKPOINT_FILE).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    if content == b"other":
        torch.save({"format": "pruning-core checkpoint 1"}, path)
    message = refused(tmp_path, tiny)
    assert message.startswith(f"{path} is not a readable checkpoint")
    assert "delete it to start over" in message


def test_a_pipe_in_place_of_a_checkpoint_does_not_hold_a_run_up(
    tiny: Dataset, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / CHECKPOINT_FILE)
    with pytest.raises(TrainingError, match="Not a regular file"):
        train(SHORT, tiny, tmp_path, resume=True)


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.pop(key)


def put(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({key: value})


KEYS = ["settings", "dataset", "split", "data", "threads", "epoch", "step", "phase", "trajectory",
        "findings", "sizes", "model", "auxiliary", "optimizer", "random"]  # fmt: skip
ALTERATIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"without {key}": without(key) for key in (*KEYS, "format")},
    **{f"{key} is text": put(key, "text") for key in KEYS if key not in ("dataset", "split")},
    **{f"{key} is nothing": put(key, None) for key in KEYS},
    **{f"epoch is {epoch}": put("epoch", epoch) for epoch in (99, -5, 0, 2, 1.5, True)},
    "a step too many": lambda state: state.update(step=state["step"] + 1),
    "no records": put("trajectory", []),
    "records of text": lambda state: state["trajectory"][0].update(seconds="long"),
    "a size of another layer": lambda state: state["sizes"].update(fc9={"in_features": 1}),
    "a size that is code": lambda state: state["sizes"].update(fc1={"forward": 1}),
    "a larger layer": lambda state: state["model"].update(
        {"fc1.weight": torch.zeros(1).expand(10**6, 10**6)}
    ),
    "a missing weight": lambda state: state["model"].pop("fc1.weight"),
    "a phase of methods with gates": put("phase", "pruning"),
    "a parameter too many": lambda state: state["auxiliary"].append(torch.zeros(3)),
    "no parameters": lambda state: state["optimizer"].update(param_groups=[]),
    "half a state of chance": lambda state: state["random"].update(cpu=state["random"]["cpu"][:9]),
    "no state of chance": put("random", {}),
}


@pytest.mark.parametrize("what", ALTERATIONS)
def test_an_altered_checkpoint_is_refused_even_if_its_checksum_is_right(
    what: str, finished: Path, tiny: Dataset, tmp_path: Path
) -> None:
    # Of a run that could go on: epoch 2 of 2 in the file, whose summary is not needed.
    state = read_checkpoint(finished / CHECKPOINT_FILE)
    state["epoch"], state["trajectory"] = 1, state["trajectory"][:1]
    state["step"] //= 2
    ALTERATIONS[what](state)
    write_checkpoint(tmp_path / CHECKPOINT_FILE, state)
    message = refused(tmp_path, tiny)
    assert "contradicts itself" in message or "of another run" in message or "version" in message


class FillTheDisk(Callback):
    """After the first epoch, nothing can be written any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def on_step_end(self, run: Run) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        if run.epoch == 1:
            self.monkeypatch.setattr(os, "fsync", full)


def test_a_disk_that_is_full_in_the_middle_is_told_with_the_file_and_nothing_is_lost(
    finished: Path, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        train(SHORT, tiny, tmp_path, callbacks=[FillTheDisk(monkeypatch)])
    assert caught.value.filename == str(tmp_path / CHECKPOINT_FILE)
    assert list(contents(tmp_path)) == [CHECKPOINT_FILE]
    monkeypatch.undo()
    train(SHORT, tiny, tmp_path, resume=True)
    weights = "model.safetensors"
    assert (tmp_path / weights).read_bytes() == (finished / weights).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (
        tmp_path / "file",
        tmp_path / "file" / "below",
        tmp_path / ("n" * 256),
        tmp_path / Path("deep/" * 1000),
    ):
        with pytest.raises(TrainingError, match=f"cannot write to {out}: .*; choose another --out"):
            train(SHORT, tiny, out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
