"""Tests of pruning_core.figures.compaction: what is drawn is what is there, and what goes."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from pruning_core import BernoulliGate, compact_
from pruning_core.figures import compaction as figures

CLOSED = torch.tensor([False, True, False, True, False])


def layers(network: nn.Sequential) -> figures.Layers:
    first, second = (network.get_parameter(f"{i}.weight").detach().clone() for i in (0, 3))
    return first, second


@pytest.fixture(scope="module")
def panels() -> list[Axes]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), BernoulliGate(5), nn.Linear(5, 2)).eval()
    before = layers(network)
    compact_(network, {"2": CLOSED}, torch.rand(4, 3))
    drawings = figures.before_and_after(before, layers(network), CLOSED).axes
    every = [axis for drawing in drawings for axis in (drawing, *drawing.child_axes)]
    return [axis for axis in every if isinstance(axis, Axes)]


def links(axis: Axes) -> list[tuple[str, float]]:
    """Colour and width of every line between two units."""
    places = [np.asarray(line.get_xydata()) for line in axis.lines]
    return [
        (to_hex(line.get_color()), line.get_linewidth())
        for line, at in zip(axis.lines, places, strict=True)
        if len(at) == 2 and at[1, 0] - at[0, 0] == 1
    ]


def squares(axis: Axes) -> list[str]:
    patches = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    return [to_hex(patch.get_facecolor()) for patch in patches]


def test_every_weight_is_a_link_and_a_square_before_and_after(panels: list[Axes]) -> None:
    network, matrices, smaller_network, smaller_matrices = panels
    assert len(links(network)) == len(squares(matrices)) == 3 * 5 + 5 * 2
    assert len(links(smaller_network)) == len(squares(smaller_matrices)) == 3 * 3 + 3 * 2


def test_what_belongs_to_a_closed_unit_has_a_colour_of_its_own(panels: list[Axes]) -> None:
    network, matrices, smaller_network, smaller_matrices = panels
    for found in ([colour for colour, _ in links(network)], squares(matrices)):
        grey, *others = sorted({found.count(colour): colour for colour in found}, reverse=True)
        assert [grey, *others] == [3 * 3 + 3 * 2, 3 * 2, 2 * 2]
    assert len({colour for colour, _ in links(smaller_network)}) == 1
    assert len(set(squares(smaller_matrices))) == 1


def test_the_links_that_stay_are_the_same(panels: list[Axes]) -> None:
    stay = [link for link in links(panels[0]) if link[0] == links(panels[2])[0][0]]
    assert stay == links(panels[2])


def test_matrices_that_do_not_fit_the_gates_are_refused() -> None:
    before = torch.ones(5, 3), torch.ones(2, 5)
    after = torch.ones(4, 3), torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"3 gates are open, but \(4, 4\) units"):
        figures.before_and_after(before, after, CLOSED)


def test_the_matrix_before_is_greyed_where_rows_or_columns_go() -> None:
    before = torch.arange(12.0).reshape(3, 4)
    rows = torch.tensor([False, True, False])
    columns = torch.tensor([True, False, False, True])
    figure = figures.shrinking_matrix(before, before[~rows][:, ~columns], rows, columns)
    assert isinstance(figure, Figure)
    shade = figure.axes[0].images[1].get_array()
    assert shade is not None
    assert (shade[..., 3] > 0).tolist() == (rows[:, None] | columns).tolist()
