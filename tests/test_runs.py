"""Tests of pruning_core.experiments.runs: what a run finds where its files are to go."""

from pathlib import Path

import pytest
import torch

from pruning_core.experiments.checkpoint import CHECKPOINT_FILE
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import TrainingError
from pruning_core.experiments.runs import train
from pruning_core.experiments.settings import Settings

SHORT = Settings(epochs=1, bernoulli_epochs=1)


@pytest.fixture(scope="module")
def finished(small_mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("run")
    train(SHORT, small_mnist, folder)
    return folder


def test_a_folder_that_holds_a_run_is_not_overwritten(finished: Path, small_mnist: Dataset) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(TrainingError, match="already holds a run; continue it with --resume, or"):
        train(SHORT, small_mnist, finished)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"\x00" * 99, b"half", b"other"])
def test_a_damaged_checkpoint_is_named(
    content: bytes, finished: Path, small_mnist: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(content)
    if content == b"half":
        whole = (finished / CHECKPOINT_FILE).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    if content == b"other":
        torch.save({"a": 1}, path)
    with pytest.raises(TrainingError, match=f"{path} is not .*checkpoint.*delete it to start over"):
        train(SHORT, small_mnist, tmp_path, resume=True)


def test_a_folder_that_cannot_be_written_is_named(small_mnist: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(TrainingError, match=f"cannot write to {out}: .*; choose another --out"):
            train(SHORT, small_mnist, out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
