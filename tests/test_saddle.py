"""Tests of pruning_core.theory.saddle, against the formulas of two gates and against descent."""

import pytest
import torch

from pruning_core.theory.enumeration import expectation, projected_descent
from pruning_core.theory.saddle import saddle, separatrix, slopes

PRICE = 10.0
NONE = torch.zeros(0, dtype=torch.float64)


def losses(l00: float, l01: float, l10: float, l11: float) -> torch.Tensor:
    """The table of two gates; the second changes fastest."""
    return torch.tensor([l00, l01, l10, l11], dtype=torch.float64)


TWINS = losses(200.0, 160.0, 150.0, 165.0)
TEAM = losses(30.0, 30.0, 30.0, 0.0)


def test_slopes_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    table, others = torch.rand(16, dtype=torch.float64), torch.tensor([0.3, 0.8]).double()
    theta = torch.tensor([0.4, 0.7], dtype=torch.float64)

    def objective(point: torch.Tensor) -> float:
        everything = torch.cat([point, others])
        return float(expectation(table, everything) + PRICE * everything.sum())

    found = slopes(table, PRICE, others, theta).tolist()
    for i, step in enumerate(1e-5 * torch.eye(2, dtype=torch.float64)):
        central = (objective(theta + step) - objective(theta - step)) / 2e-5
        assert found[i] == pytest.approx(central, rel=1e-6)


def test_the_saddle_of_twins_is_where_the_proposition_has_it() -> None:
    l00, l01, l10, l11 = TWINS.tolist()
    h = l11 - l10 - l01 + l00
    expected = [(l00 - l01 - PRICE) / h, (l00 - l10 - PRICE) / h]
    assert saddle(TWINS, PRICE, NONE).tolist() == pytest.approx(expected)
    assert saddle(TEAM, PRICE, NONE).tolist() == pytest.approx([1 / 3, 1 / 3])


def test_units_that_ignore_each_other_have_no_saddle() -> None:
    with pytest.raises(ValueError, match="no saddle"):
        saddle(losses(9.0, 6.0, 5.0, 2.0), PRICE, NONE)


@pytest.mark.parametrize(("table", "sign"), [(TWINS, 1), (TEAM, -1)], ids=["twins", "team"])
def test_the_separatrix_is_a_straight_line_from_edge_to_edge(
    table: torch.Tensor, sign: int
) -> None:
    line = separatrix(table, PRICE, NONE)
    away = line - saddle(table, PRICE, NONE)
    torch.testing.assert_close(away[:, 0], sign * away[:, 1], rtol=0, atol=1e-9)
    for end in line[[0, -1]]:
        assert float(torch.minimum(end, 1 - end).min()) == pytest.approx(0, abs=1e-12)
    assert float(line.min()) >= 0
    assert float(line.max()) <= 1


@pytest.mark.parametrize("table", [TWINS, TEAM], ids=["twins", "team"])
def test_descent_from_either_side_of_it_ends_elsewhere(table: torch.Tensor) -> None:
    line = separatrix(table, PRICE, NONE)
    inside = line[len(line) // 10 : -len(line) // 10 : 40]
    across = line[-1] - line[0]
    across = torch.stack([-across[1], across[0]]) / across.norm()
    ends = [
        projected_descent(table, PRICE, inside + shift * across, 1e-3, 4_000)[-1]
        for shift in (-0.01, 0.01)
    ]
    for end in ends:
        assert len(end.unique(dim=0)) == 1
    assert not torch.equal(ends[0][0], ends[1][0])


def test_a_saddle_outside_has_no_line_within() -> None:
    with pytest.raises(ValueError, match="not inside of the square"):
        separatrix(losses(200.0, 195.0, 150.0, 165.0), PRICE, NONE)
