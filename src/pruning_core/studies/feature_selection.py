"""Feature selection by the penalties: sparse linear regression with more features than examples.

    python -m pruning_core.studies.feature_selection [--root DIR]

takes seven minutes on one core, and nothing once DIR/results (here, by default) has its table.

y = X w + noise with 100 examples, 200 features of which neighbours correlate by 0.5, and ten
weights that are not zero, for 20 seeds. A penalty's strength is, in each seed, the one of a grid
that predicts 100 further examples best. Found are the relative error ‖ŵ − w‖/‖w‖, how many of the
ten features were selected, how many of the others, and whether the selection was exactly right.

What it was asked to show, before its first run, stands with all other claims in
``studies/claims.toml``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from pruning_core.baselines.penalties import AdaptiveLasso, Bridge, Lasso, Penalty
from pruning_core.files import make_writable, write_atomically
from pruning_core.halo import Halo, bridge_scale
from pruning_core.studies import ROOT, own_tables

FILE = "results/feature-selection.csv"
RESULTS = ROOT / FILE
"""What the repository has of it.

:meta hide-value:
"""

SEEDS, EXAMPLES, FEATURES, NONZERO, NOISE = 20, 100, 200, 10, 0.5
STRENGTHS = torch.logspace(-3, 0.5, 30, dtype=torch.float64).tolist()
STEPS = 2000
_NUMBERS = ("seed", "relative_error", "selected_relevant", "selected_irrelevant", "support_exact")


class Problem(NamedTuple):
    """For each seed: X (seeds, N, p), y (seeds, N) to fit and to choose by, and w (seeds, p)."""

    inputs: Tensor
    targets: Tensor
    other_inputs: Tensor
    other_targets: Tensor
    truth: Tensor


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit what is not in the table yet, and print means over the seeds with standard errors.

    Returns:
        The exit code, 2 if the table is damaged.
    """
    return own_tables.run("Feature selection by the penalties.", FILE, completed, told, arguments)


def completed(path: Path) -> pd.DataFrame:
    """The table in a file, which is computed if there is none."""
    if not path.exists():
        make_writable(path.parent)
        write_atomically(path, fitted().to_csv(index=False).encode())
    return load(path)


def told(rows: pd.DataFrame) -> str:
    """Means over the seeds with their standard errors."""
    found = rows.drop(columns="seed").groupby("penalty", sort=False)
    return found.agg(["mean", "sem"]).round(3).to_string()


def load(path: Path) -> pd.DataFrame:
    """A row for each penalty and seed; empty if there is no such file.

    Raises:
        StudyError: if it is damaged.
    """
    return own_tables.read(path, ["penalty"], _NUMBERS)


def fitted() -> pd.DataFrame:
    """Every penalty at every strength; the row of each seed is that of the chosen strength."""
    problem = draw()
    ridge = chosen(problem, [ridge_fit(problem, s) for s in STRENGTHS])
    fits: dict[str, Callable[[float], Tensor]] = {
        "lasso": lambda s: proximal_fit(problem, Lasso, s),
        "adaptive lasso": lambda s: proximal_fit(problem, lambda t: AdaptiveLasso(t, [ridge]), s),
        "bridge": lambda s: proximal_fit(problem, Bridge, s),
        "HALO": lambda s: halo_fit(problem, s),
    }
    return pd.DataFrame(
        row
        for name, fit in fits.items()
        for row in judged(name, problem, chosen(problem, [fit(s) for s in STRENGTHS]))
    )


def draw() -> Problem:
    """Gaussian features in a chain; ten weights of size 0.5 to 2 and either sign, far apart."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    inputs = normal(SEEDS, 2 * EXAMPLES, FEATURES)
    for j in range(1, FEATURES):
        inputs[..., j] = 0.5 * inputs[..., j - 1] + 0.75**0.5 * inputs[..., j]
    truth = torch.zeros(SEEDS, FEATURES, dtype=torch.float64)
    sizes = 0.5 + 1.5 * torch.rand(SEEDS, NONZERO, generator=generator, dtype=torch.float64)
    truth[:, :: FEATURES // NONZERO] = sizes * normal(SEEDS, NONZERO).sign()
    targets = torch.einsum("snp,sp->sn", inputs, truth)
    targets += NOISE * normal(SEEDS, 2 * EXAMPLES)
    fit, other = slice(EXAMPLES), slice(EXAMPLES, None)
    return Problem(inputs[:, fit], targets[:, fit], inputs[:, other], targets[:, other], truth)


def slope(problem: Problem, weights: Tensor) -> Tensor:
    """Of the mean squared error over 2."""
    residual = torch.einsum("snp,sp->sn", problem.inputs, weights) - problem.targets
    return torch.einsum("snp,sn->sp", problem.inputs, residual) / EXAMPLES


def step_size(problem: Problem) -> float:
    """1 over the largest curvature of any seed."""
    return EXAMPLES / float(torch.linalg.matrix_norm(problem.inputs, 2).square().max())


def ridge_fit(problem: Problem, strength: float) -> Tensor:
    """The minimum in closed form."""
    gram = problem.inputs.mT @ problem.inputs / EXAMPLES
    gram += 2 * strength * torch.eye(FEATURES, dtype=torch.float64)
    return torch.linalg.solve(gram, -slope(problem, torch.zeros_like(problem.truth)))


def proximal_fit(problem: Problem, build: Callable[[float], Penalty], strength: float) -> Tensor:
    """Proximal gradient descent from zero, by the penalty's thresholding rule."""
    step = step_size(problem)
    penalty, weights = build(step * strength), torch.zeros_like(problem.truth)
    for _ in range(STEPS):
        weights = penalty.thresholded(weights - step * slope(problem, weights))
    return weights


def halo_fit(problem: Problem, strength: float) -> Tensor:
    """Weights and coefficients together; at their optimum P is the bridge of this strength."""
    step = step_size(problem)
    model = nn.Linear(FEATURES, len(problem.truth), bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    price = strength / bridge_scale(1.0, 1.0)
    halo = Halo(model, price, price, floor=1e-2, proximal=True)
    optimizer = torch.optim.SGD(
        [{"params": model.weight}, {"params": halo.coefficients, "lr": 0.01 / price}], step
    )
    for _ in range(STEPS):
        optimizer.zero_grad()
        halo.backward()
        model.weight.grad = slope(problem, model.weight.detach())
        optimizer.step()
        halo.shrink_(step)
    return model.weight.detach()


def chosen(problem: Problem, fits: list[Tensor]) -> Tensor:
    """In each seed, the fit that predicts the other examples best."""
    stacked = torch.stack(fits)
    predicted = torch.einsum("snp,ksp->ksn", problem.other_inputs, stacked)
    best = (predicted - problem.other_targets).square().mean(2).argmin(0)
    return stacked[best, torch.arange(len(best))]


def judged(name: str, problem: Problem, weights: Tensor) -> list[dict[str, object]]:
    """A row for each seed."""
    selected, relevant = weights != 0, problem.truth != 0
    error = (weights - problem.truth).norm(dim=1) / problem.truth.norm(dim=1)
    return [
        {
            "penalty": name,
            "seed": seed,
            "relative_error": round(float(error[seed]), 4),
            "selected_relevant": int((selected & relevant)[seed].sum()),
            "selected_irrelevant": int((selected & ~relevant)[seed].sum()),
            "support_exact": int((selected == relevant)[seed].all()),
        }
        for seed in range(len(weights))
    ]


if __name__ == "__main__":
    sys.exit(main())
