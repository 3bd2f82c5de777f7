"""Which pixels the networks of a study still read: kept in ``results/models/masks.parquet``.

The trained networks are not part of the repository. Where they are, in ``runs/``,

    python -m pruning_core.studies.masks

renews the file.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import safe_open

from pruning_core.export import WEIGHTS_FILE
from pruning_core.files import write_atomically
from pruning_core.models import MODELS
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.record_files import damaged

STUDY = "lenet-300-100"
PIXELS = MODELS[STUDY].dense()[0]
_INDEX = "gate0.index"
_FILE = "results/models/masks.parquet"


def surviving_pixels(run: Path) -> np.ndarray:
    """Which pixels a pruned LeNet-300-100 reads; bool, shape (784,).

    Args:
        run: folder of the exported network.

    Raises:
        StudyError: if it is not there, or its pixels had no gate.
    """
    try:
        with safe_open(run / WEIGHTS_FILE, "numpy") as file:
            names = set(file.keys())
            kept = file.get_tensor(_INDEX) if _INDEX in names else np.arange(PIXELS)
            inputs = file.get_tensor("fc1.weight").shape[1]
    except (OSError, KeyError) as error:
        raise StudyError(f"{run} does not hold a pruned LeNet-300-100: {error}") from error
    if len(kept) != inputs:
        raise StudyError(f"{run}: its first layer reads {inputs} inputs, its gate {len(kept)}")
    mask = np.zeros(PIXELS, dtype=bool)
    mask[kept] = True
    return mask


def record(archive: Archive, runs: Path) -> pd.DataFrame:
    """Write ``masks.parquet`` anew from those runs of the study whose pixels had a gate.

    Runs that are recorded, but whose folder is not there, keep their row.

    Returns:
        A row for each run, with its key and its 784 bits, packed.
    """
    study = archive.study(STUDY)
    known = load_masks(archive)
    found = {}
    for run in study.runs:
        if not run.settings.gate_inputs:
            continue
        if (runs / run.key / WEIGHTS_FILE).exists():
            found[run.key] = surviving_pixels(runs / run.key)
        elif run.key in known:
            found[run.key] = known[run.key]
    packed = [np.packbits(mask).tobytes() for mask in found.values()]
    table = pd.DataFrame({"run": list(found), "pixels": packed})
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    path = archive / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
    return table


def load_masks(archive: Archive) -> dict[str, np.ndarray]:
    """By key of the run, which pixels survive; bool, shape (784,). Empty if nothing is kept."""
    path = archive / _FILE
    if not path.exists():
        return {}
    try:
        table = pd.read_parquet(path, columns=["run", "pixels"])
        return {
            key: np.unpackbits(np.frombuffer(pixels, np.uint8)).astype(bool).reshape(PIXELS)
            for key, pixels in zip(table["run"], table["pixels"], strict=True)
        }
    except (OSError, ValueError, TypeError) as error:
        raise damaged(path, error) from error


if __name__ == "__main__":
    print(f"{len(record(Archive('.'), Path('runs')))} masks")
