"""Tests of pruning_core.experiments.checkpoint: read as written, or refused in one line."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning_core.experiments.checkpoint import read_checkpoint, write_checkpoint
from pruning_core.experiments.loop import TrainingError

STATE = {"format": "x", "weights": torch.arange(1000.0), "sizes": {"a": 1}, "some": [1, 2.5, None]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "checkpoint.pt", STATE)
    return tmp_path / "checkpoint.pt"


def refused(path: Path) -> str:
    with pytest.raises(TrainingError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is not a readable checkpoint (")
    assert message.endswith("; delete it to start over, or put a copy back")
    assert "\n" not in message
    return message


def test_a_checkpoint_comes_back_and_torch_alone_reads_it_too(path: Path) -> None:
    for state in (read_checkpoint(path), torch.load(path, weights_only=True)):
        assert torch.equal(state.pop("weights"), STATE["weights"])
        assert state == {key: value for key, value in STATE.items() if key != "weights"}


def test_any_flipped_bit_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for place in (0, 100, len(content) // 2, len(content) - 70, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert "damaged, altered, or of another version" in refused(path)


def test_a_checkpoint_that_torch_has_written_again_is_noticed(path: Path) -> None:
    torch.save(STATE, path)
    assert "damaged, altered, or of another version" in refused(path)


@pytest.mark.parametrize("length", [0, 1, 63, 66, 500])
def test_a_truncated_checkpoint_is_refused(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    refused(path)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        assert "Not a regular file" in refused(tmp_path / name)
    assert "Is a directory" in refused(tmp_path / "folder")
    assert "No such file" in refused(tmp_path / "absent")


def forged(path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with the checksum of these bytes, which end like a zip file without a comment."""
    monkeypatch.setattr(torch, "save", lambda _, buffer: buffer.write(archive))
    write_checkpoint(path, {})
    monkeypatch.undo()


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def test_code_in_a_checkpoint_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"format": Evil()}, buffer)
    forged(tmp_path / "evil", buffer.getvalue(), monkeypatch)
    refused(tmp_path / "evil")
    forged(tmp_path / "evil", pickle.dumps(Evil()), monkeypatch)
    refused(tmp_path / "evil")
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_that_would_unpack_to_more_than_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(10_000_000))
    forged(tmp_path / "bomb", buffer.getvalue(), monkeypatch)
    assert "unpack to more than it is" in refused(tmp_path / "bomb")


@pytest.mark.parametrize("state", [[1, 2], "text", torch.zeros(2)])
def test_a_checkpoint_is_a_dictionary(tmp_path: Path, state: Any) -> None:
    write_checkpoint(tmp_path / "other", state)
    assert "not a dictionary" in refused(tmp_path / "other")
