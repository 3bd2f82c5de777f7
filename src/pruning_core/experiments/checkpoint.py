"""A checkpoint on disk: torch's file, which says of itself what its bytes must add up to."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.run import Run, TrainingError
from pruning_core.files import read_regular, write_atomically

CHECKPOINT_FILE = "checkpoint.pt"
_DIGITS = 64  # of a SHA-256


class Checkpoint(Callback):
    """Writes the complete state after every epoch, to a temporary name that is then renamed."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / CHECKPOINT_FILE

    def on_epoch_end(self, run: Run) -> None:
        write_checkpoint(self.path, run.state_dict())


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write what ``torch.load`` reads, with the SHA-256 of its bytes as the archive's comment.

    Args:
        path: of the file, which is replaced as a whole.
        state: tensors, numbers, text, and lists and dictionaries of them.

    Raises:
        OSError: naming the file.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    archive = buffer.getvalue()[:-2]  # without the length of a comment, 0
    digest = hashlib.sha256(archive).hexdigest().encode()
    write_atomically(path, archive + _DIGITS.to_bytes(2, "little") + digest)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What :func:`write_checkpoint` wrote; nothing in it is executed.

    Raises:
        TrainingError: if the file cannot be read, or is not as it was written.
    """
    advice = "delete it to start over, or put a copy back"
    try:
        content = read_regular(path)
    except OSError as error:
        raise TrainingError(
            f"{path} is not a readable checkpoint ({error.strerror}); {advice}"
        ) from error
    archive, digest = content[: -_DIGITS - 2], content[-_DIGITS:]
    if hashlib.sha256(archive).hexdigest().encode() != digest:
        raise TrainingError(
            f"{path} is not a readable checkpoint (damaged, altered, or of another version of "
            f"pruning-core); {advice}"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as entries:
            if sum(entry.file_size for entry in entries.infolist()) > len(content):
                raise ValueError("it would unpack to more than it is")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"a {type(state).__name__}, not a dictionary")
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
        EOFError,
        MemoryError,
        RecursionError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"{path} is not a readable checkpoint ({reason}); {advice}") from error
    return state
