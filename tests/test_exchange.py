import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pruning_core.studies import exchange, tables
from pruning_core.studies.archive import Archive

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)


def trajectory(run: str, drawn: float, plain: float) -> list[dict[str, object]]:
    theta = {"a": {"units": 4, "mean": 0.75}, "b": {"units": 2, "mean": 1.0}}
    return [
        {"run": run, "epoch": 1, "loss": drawn / 60_000, "theta": json.dumps(theta)},
        {"run": run, "epoch": 2, "loss": plain / 60_000, "theta": "{}"},
    ]


RUNS = pd.DataFrame(
    {
        "run": ["x", "y"],
        "point": ["pixels log_gamma=10", "pixels log_gamma=20"],
        "settings": ['{"log_gamma": [10.0]}', '{"log_gamma": [20.0]}'],
        "surviving_units": [8.0, 6.0],
    }
)
EPOCHS = pd.DataFrame([*trajectory("x", 100.0, 50.0), *trajectory("y", 130.0, 58.0)])


def test_gates_off_are_expected_from_the_last_theta() -> None:
    assert exchange.with_expected_off(RUNS, EPOCHS)["expected_off"].tolist() == [1.0, 1.0]


def test_rates_compare_neighbouring_prices() -> None:
    (found,) = exchange.rates(RUNS, EPOCHS).reset_index().to_dict("records")
    assert (found["price"], found["next price"], found["n"]) == (10, 20, 1)
    assert found["nats per unit, drawn"] == pytest.approx(15)
    assert found["nats per unit, plain"] == pytest.approx(4)
    assert found["J gained"] == pytest.approx(12)


def test_the_rates_of_the_recorded_runs_are_quotients_of_means_of_points() -> None:
    runs, epochs = tables.runs(ARCHIVE, "lenet-300-100"), tables.epochs(ARCHIVE, "lenet-300-100")
    found = exchange.with_expected_off(runs, epochs)["expected_off"]
    assert all(0 <= off < 300 for off in found)
    means: dict[str, Any] = {}
    for phase, noted in (("drawn", epochs[epochs["theta"] != "{}"]), ("plain", epochs)):
        last = noted.loc[noted.groupby("run")["epoch"].idxmax()]
        means[phase] = 60_000 * last.groupby("point")["loss"].mean()
    units: Any = runs.groupby("point")["surviving_units"].mean()
    rows: list[Any] = exchange.rates(runs, epochs).reset_index().to_dict("records")
    assert len(rows) > 3
    for row in rows:
        few, many = (
            f"{row['series']} log_gamma={row[price]:g}" for price in ("next price", "price")
        )
        fall = units[many] - units[few]
        for phase, loss in means.items():
            expected = (loss[few] - loss[many]) / fall
            assert row[f"nats per unit, {phase}"] == pytest.approx(expected)
        gained = row["price"] * fall - (means["plain"][few] - means["plain"][many])
        assert row["J gained"] == pytest.approx(gained)
