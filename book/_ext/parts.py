"""Sphinx extension: ``{part} NAME`` is a paragraph on a part of the book, beside its picture.

The pictures are drawn from what is recorded, or from the functions of the package, whenever the
book is built; they take their colours from the page.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from docutils import nodes
from pruning_core.halo import halo_marginal
from pruning_core.hyperprior import Flattening
from pruning_core.studies.archive import Archive
from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.masks import load_masks
from pruning_core.studies.tables import by_point
from pruning_core.theory.lower_envelope import total
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from torch import Tensor

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 120, 84


class Part(SphinxDirective):
    """Its argument names the picture; its content is the text."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        if self.arguments[0] not in PICTURES:
            raise self.error(f"no picture {self.arguments[0]!r}; expected {', '.join(PICTURES)}")
        said, draw = PICTURES[self.arguments[0]]
        picture = (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{draw()}</svg>'
        )
        text = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, text)
        drawn = nodes.raw("", picture, format="html")
        return [nodes.container("", drawn, text, classes=["book-part"])]


def pixels() -> str:
    """How many of ten networks still read a pixel."""
    runs = by_point(Archive(ROOT), "lenet-300-100")["pixels log_gamma=28"]["run"]
    masks = load_masks(Archive(ROOT))
    counts = np.sum([masks[run] for run in runs], axis=0)
    drawn = ""
    for count in np.unique(counts):
        squares = "".join(
            f"M{18 + 3 * (pixel % 28)} {3 * (pixel // 28)}h2.5v2.5h-2.5z"
            for pixel in np.flatnonzero(counts == count)
        )
        ink = f'fill="currentColor" fill-opacity="{0.1 + 0.9 * count / len(runs):.2f}"'
        drawn += f'<path class="strong" d="{squares}" {ink}/>'
    return drawn


def envelope() -> str:
    """For fixed π, what a unit costs is convex in θ; each curve touches the line of the best π."""
    prior, theta = Flattening(log_gamma=4.0), torch.linspace(0.001, 0.999, 81)
    drawn = [
        _curve(theta, total(prior, theta, pi.expand_as(theta)), (0, 1), (-0.3, 4.5), 1.2)
        for pi in prior.optimal_pi(torch.tensor([0.15, 0.4, 0.65, 0.9]))
    ]
    return "".join(drawn) + _curve(theta, prior.cost(theta), (0, 1), (-0.3, 4.5), 2.6, "strong")


def penalties() -> str:
    """HALO's penalty with its coefficient at the best, and the lasso's, which meet at 1."""
    weight = torch.linspace(-1, 1, 201)
    lasso = _curve(weight, weight.abs(), (-1, 1), (0, 1.1), 1.2)
    halo = halo_marginal(weight, 1.0, 1.0) / halo_marginal(torch.ones(1), 1.0, 1.0)
    return lasso + _curve(weight, halo, (-1, 1), (0, 1.1), 2.6, "strong")


def results() -> str:
    """Error against weights that are left, with intervals, and the error of dense networks."""
    points = by_point(Archive(ROOT), "lenet-300-100")
    dense = by_point(Archive(ROOT), "training-cost")["lenet-300-100-dense"]
    drawn, sizes, errors = [], [], []
    vertical, across = (1.2, 3.2), (math.log(5_000), math.log(60_000))
    for name, rows in points.items():
        if name.startswith("pixels log_gamma="):
            mean, low, high = mean_interval(rows["test_error_percent"].to_numpy(dtype=float))
            size = math.log(rows["weights_kept"].to_numpy().mean())
            ends = [_place(size, end, across, vertical) for end in (low, high)]
            drawn.append(_path(ends, 1.2, "strong"))
            sizes.append(size)
            errors.append(mean)
    (left, level), (right, _) = (
        _place(end, float(dense["test_error_percent"].to_numpy().mean()), across, vertical)
        for end in across
    )
    line = (
        f'<path class="other" d="M{left:.1f} {level:.1f}H{right:.1f}" stroke="currentColor" '
        'stroke-width="1.5" stroke-dasharray="4 3" fill="none"/>'
    )
    return line + "".join(drawn) + _curve(sizes, errors, across, vertical, 2.2, "strong")


def network() -> str:
    """A network with three closed units."""
    columns, closed = ((18, 4), (60, 5), (102, 3)), {(0, 1), (1, 0), (1, 3)}
    places = [[(x, HEIGHT * (unit + 0.5) / count) for unit in range(count)] for x, count in columns]
    drawn = [
        _path([before, after], 0.8)
        for depth in (0, 1)
        for i, before in enumerate(places[depth])
        for j, after in enumerate(places[depth + 1])
        if not closed & {(depth, i), (depth + 1, j)}
    ]
    for depth, column in enumerate(places):
        for unit, (x, y) in enumerate(column):
            shut = (depth, unit) in closed
            look = (
                'fill="none" stroke-dasharray="2 2"'
                if shut
                else 'fill="currentColor" class="strong"'
            )
            drawn.append(
                f'<circle cx="{x}" cy="{y:.1f}" r="5.5" stroke="currentColor" stroke-width="1.2" '
                f"{look}/>"
            )
    return "".join(drawn)


PICTURES: dict[str, tuple[str, Callable[[], str]]] = {
    "ideas": ("The pixels that ten pruned networks still read: the middle of the image", pixels),
    "bernoulli": ("Convex curves above a straight line, which each of them touches once", envelope),
    "halo": (
        "A penalty with a sharp cusp at zero beside the two straight arms of the lasso",
        penalties,
    ),
    "reproduction": (
        "Error falls as more weights are left, and comes near the level of dense networks",
        results,
    ),
    "yours": ("Three layers of units, three of which are closed and have no connections", network),
}


def _place(
    x: float, y: float, across: tuple[float, float], vertical: tuple[float, float]
) -> tuple[float, float]:
    right = (x - across[0]) / (across[1] - across[0])
    up = (y - vertical[0]) / (vertical[1] - vertical[0])
    return 4 + (WIDTH - 8) * right, HEIGHT - 4 - (HEIGHT - 8) * up


def _curve(
    xs: Tensor | Sequence[float],
    ys: Tensor | Sequence[float],
    across: tuple[float, float],
    vertical: tuple[float, float],
    width: float,
    name: str = "",
) -> str:
    """Through these points, as far as they lie in the picture."""
    points = zip(torch.as_tensor(xs).tolist(), torch.as_tensor(ys).tolist(), strict=True)
    places = (_place(x, y, across, vertical) for x, y in points)
    return _path([place for place in places if 0 <= place[1] <= HEIGHT], width, name)


def _path(places: list[tuple[float, float]], width: float, name: str = "") -> str:
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return (
        f'<path class="{name}" d="M{steps}" stroke="currentColor" stroke-width="{width}" '
        'fill="none" stroke-linejoin="round" stroke-linecap="round"/>'
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("part", Part)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
