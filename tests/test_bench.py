"""The table of benchmarks, in tiny size: every row can be computed."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pruning_core.experiments.data import Dataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("bench")


@pytest.mark.slow
def test_every_row_of_the_table_is_a_ratio_of_times(
    bench: ModuleType, small_mnist: Dataset
) -> None:
    scale = bench.Scale(steps=1, rounds=1, epochs=2, seeds=2, widths=(1, 2), examples=500, passes=2)
    rows = list(bench.table(small_mnist, scale))
    assert all(row["low"] <= row["ratio"] <= row["high"] for row in rows)
    assert all(row["ratio"] > 0 for row in rows)
    named = {(row["what"], row["name"]) for row in rows}
    assert len(named) == len(rows)
    assert {name for _, name in named} >= {
        *("torchvision's DataLoader", "gates on pixels, too", "L0, hidden units", "disarm"),
        *("exact sum", "HALO", "HALO, a loop over parameters", "pruned"),
        *("at once", "pruned, nothing removed", "peak of memory", "weights left"),
    }
    assert all(bench.line(row).startswith(str(row["what"])) for row in rows)


def test_the_ratio_is_the_median_over_rounds_to_the_first_task(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    costs = iter([9, 9, 1, 2, 2, 8, 4, 12])  # the first of each is not timed

    def task() -> None:
        clock[0] += next(costs)

    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    tasks = {"base": task, "other": task}
    (row,) = bench.compare("both", tasks, 3, torch.device("cpu"))
    assert (row["name"], row["against"]) == ("other", "base")
    assert (row["ratio"], row["low"], row["high"]) == (3, 2, 4)


def test_seeds_trained_at_once_become_what_they_become_one_after_another(
    bench: ModuleType, small_mnist: Dataset
) -> None:
    one_after_another, at_once = bench.many_seeds(small_mnist, 3, 5).values()
    for alone, together in zip(one_after_another(), at_once(), strict=True):
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
