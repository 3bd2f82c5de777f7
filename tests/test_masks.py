"""Tests of pruning_core.studies.masks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pruning_core import BernoulliPruner, export
from pruning_core.export import save_model
from pruning_core.gates import named_gates
from pruning_core.models import build_model
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError, load_study
from pruning_core.studies.masks import PIXELS, STUDY, load_masks, record, surviving_pixels
from pruning_core.studies.tables import runs

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)


def pruned(folder: Path, kept: list[int]) -> Path:
    """A LeNet-300-100 that reads these pixels, as a run leaves it on disk."""
    options = {"gated": True, "gate_inputs": True, "num_classes": 10}
    model = build_model("lenet-300-100", **options)
    for name, gate in named_gates(model).items():
        theta = torch.zeros(PIXELS) if name == "gate0" else torch.ones(gate.num_units)
        theta[kept if name == "gate0" else 0] = 1.0
        gate.theta.data.copy_(theta)
        gate.theta_average.copy_(theta)
    pruner = BernoulliPruner(model, 1.0, num_examples=1, example_inputs=torch.zeros(1, 1, 28, 28))
    pruner.settle_()
    folder.mkdir(parents=True)
    save_model(export(model), folder, name="lenet-300-100", **options)
    return folder


def test_the_pixels_of_a_saved_network_are_found(tmp_path: Path) -> None:
    mask = surviving_pixels(pruned(tmp_path / "run", [3, 400, 783]))
    assert np.flatnonzero(mask).tolist() == [3, 400, 783]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="absent does not hold a pruned LeNet-300-100"):
        surviving_pixels(tmp_path / "absent")


@pytest.mark.parametrize("content", ["nothing", "other columns", "too few pixels"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    assert load_masks(Archive(tmp_path)) == {}
    path = tmp_path / "results" / "models" / "masks.parquet"
    path.parent.mkdir(parents=True)
    if content == "nothing":
        path.write_bytes(b"PAR1")
    elif content == "other columns":
        pd.DataFrame({"run": ["a"]}).to_parquet(path)
    else:
        pd.DataFrame({"run": ["a"], "pixels": [b"\0" * 97]}).to_parquet(path)
    with pytest.raises(StudyError, match=r"masks\.parquet is damaged .* git again"):
        load_masks(Archive(tmp_path))


def test_masks_are_kept_when_their_runs_are_gone(tmp_path: Path) -> None:
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    study = load_study(STUDY, ROOT / "studies")
    first, second = [run.key for run in study.runs if run.settings.gate_inputs][:2]
    pruned(tmp_path / "runs" / first, [5, 6])
    assert len(record(Archive(tmp_path), tmp_path / "runs")) == 1
    pruned(tmp_path / "elsewhere" / second, [7])
    assert len(record(Archive(tmp_path), tmp_path / "elsewhere")) == 2
    masks = load_masks(Archive(tmp_path))
    assert {key: np.flatnonzero(mask).tolist() for key, mask in masks.items()} == {
        first: [5, 6],
        second: [7],
    }


def test_every_recorded_mask_has_as_many_pixels_as_its_run() -> None:
    masks = load_masks(ARCHIVE)
    recorded = runs(ARCHIVE, STUDY).set_index("run")["architecture"].to_dict()
    assert len(masks) >= 20
    for key, mask in masks.items():
        assert mask.shape == (PIXELS,)
        assert mask.sum() == int(recorded[key].split("-")[0])
