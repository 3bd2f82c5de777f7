"""Tests of pruning_core.studies.worst_case: differences by seed, and the schedule's own end."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pruning_core.figures import field
from pruning_core.studies import worst_case
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import load_study
from pruning_core.studies.records import record

ROOT = Path(__file__).parents[1]


def error(point: str, seed: int) -> float:
    """Such that every seed has a network of its own, and 28 nats gain 0.2 on average."""
    network = 1.5 + 0.1 * np.sin(seed)
    return network - ((0.2 + 0.01 * (-1) ** seed) if point == "price-28-worst" else 0.0)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """The declared studies, of which the first has found invented errors."""
    (tmp_path / "studies").mkdir()
    for path in (ROOT / "studies").glob("worst-case*.toml"):
        (tmp_path / "studies" / path.name).write_text(path.read_text())
    study = load_study("worst-case", tmp_path / "studies")
    found = {}
    for run in study.runs:
        final = error(run.point, run.settings.seed)
        total = run.settings.total_epochs
        noted = [
            {
                "epoch": epoch,
                "architecture": [784, 300, 100],
                "weights_kept": 26_620,
                "test_error_percent": final + 0.001 * (total - epoch),
            }
            for epoch in range(1, total + 1)
        ]
        summary = {
            "settings": json.loads(json.dumps(asdict(run.settings))),
            "architecture": [784, 300, 100],
            "architecture_dense": [784, 300, 100],
            "weights_kept": 26_620,
            "weights_total": 266_200,
            "macs": 1,
            "macs_dense": 10,
            "test_error_percent": final,
            "device": "cpu",
            "versions": {},
        }
        found[run.key] = (summary, noted)
    record(study, tmp_path / "results", found)
    return Archive(tmp_path)


def test_gains_are_paired_with_the_control_of_the_same_seed(archive: Archive) -> None:
    gains = worst_case.gains(archive)
    assert list(gains) == [
        "28 nats, ε = 0.3\nbeside 24 epochs",
        next(name for name in gains if name.startswith("56 nats, ε = ")),
        "HALO, ε = 0.3\nbeside 24 epochs",
        "28 nats, ε = 0.3\nbeside 48 epochs",
    ]
    expected = [-0.2 - 0.01 * (-1) ** seed for seed in range(10, 20)]
    values = list(gains.values())
    for index in (0, 3):
        assert values[index].index.to_list() == list(range(10, 20))
        np.testing.assert_allclose(values[index], expected)
    np.testing.assert_allclose(values[1], 0)


def test_the_end_of_the_schedule_is_read_from_the_trajectory(archive: Archive) -> None:
    rows = worst_case.runs(archive, "worst-case")
    assert set(rows["epochs"]) == {60 + 24, 90 + 24, 90 + 48}
    further = rows["schedule_error_percent"] - rows["test_error_percent"]
    longer = rows["point"] == "price-28-longer"
    np.testing.assert_allclose(further[longer], 0.048)
    np.testing.assert_allclose(further[~longer], 0.024)
    assert set(rows.loc[longer, "label"]) == {"28 nats, 48 further epochs"}
    assert len(worst_case.runs(archive, "worst-case-lenet-5")) == 0


def test_gains_of_tenths_are_drawn_on_an_axis_of_tenths(archive: Archive) -> None:
    gains = worst_case.gains(archive)
    axis = field.differences(gains, "test error, points", least=0.4).axes[0]
    assert axis.get_xlim() == (-0.4, 0.4)
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["−0.3", "0", "0.3"]
    drawn = np.concatenate([np.atleast_1d(line.get_xdata()) for line in axis.lines])
    for values in gains.values():
        assert np.isclose(drawn, values.mean()).any()
    rows = [tick.get_text() for tick in axis.get_yticklabels()]
    assert rows == [f"{name}, n = 10" for name in gains]
