"""The chapter on what training costs, against counted products and sums in exact fractions."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.studies import cost, tables
from pruning_core.studies.archive import Archive

ROOT = Path(__file__).parents[2]
ARCHIVE = Archive(ROOT)


def test_eq_cost_share() -> None:
    """That of recorded runs is what was recorded with them, to the rounding of the file."""
    found = cost.departures(tables.epochs(ARCHIVE, "training-cost")).set_index(["point", "seed"])
    runs = tables.runs(ARCHIVE, "training-cost").set_index(["point", "seed"])
    both = found.join(runs["training_macs_percent"])
    assert np.allclose(both["rho"], both["training_macs_percent"], atol=1e-4)
    # By hand: epochs at 10, 10, 4 and 1, and 1 after the last.
    assert cost.relative_cost([10, 10, 4, 1, 1]) == pytest.approx(25 / 40)


@pytest.mark.parametrize("gated", [True, False])
def test_eq_cost_passes(gated: bool) -> None:
    """Products counted by torch while it runs both passes; a multiply-accumulate is two flops.

    Torch counts a bias as it counts the weight of an input that is always 1.
    """
    sizes = [30, 20, 7, 10]
    weights = [torch.ones(b, a, requires_grad=True) for a, b in pairwise(sizes)]
    biases = [torch.ones(b, 1, requires_grad=True) for b in sizes[1:]]
    x: Tensor = torch.ones(1, 30, requires_grad=gated)
    with FlopCounterMode(display=False) as forward:
        for w, b in zip(weights, biases, strict=True):
            x = x @ w.T + torch.ones(1, 1) @ b.T
        loss = x.sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    expected = (forward.get_total_flops() // 2, backward.get_total_flops() // 2)
    assert cost.passes(sizes[:-1], gated_inputs=gated) == expected


def test_eq_cost_departure() -> None:
    """Random falling costs, summed in exact fractions, each MAC followed to its last epoch."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        c = np.sort(rng.integers(1, 1_000, 13))[::-1].tolist()
        if c[0] == c[-1]:
            continue
        lives = [sum(x > mac for x in c[:-1]) for mac in range(c[0])]
        share, when = cost.departure(c)
        assert cost.relative_cost(c) == pytest.approx(float(Fraction(sum(lives), 12 * c[0])))
        assert 1 - share * (1 - when / 12) == pytest.approx(float(Fraction(sum(lives), 12 * c[0])))


def test_eq_cost_seconds() -> None:
    """The condition agrees with the sum of the epochs' times, over random runs."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        alpha, g = rng.uniform(0, 1, 2)
        c = np.sort(rng.uniform(0.01, 1, 31))[::-1]
        drawn = int(rng.integers(1, 31))
        seconds = [1 - alpha + alpha * x / c[0] + (g if e < drawn else 0) for e, x in enumerate(c)]
        pays = sum(seconds[:30]) < 30
        assert pays == (alpha * (1 - cost.relative_cost(c)) > g * drawn / 30)
