"""Tests of pruning_core.recipe: price, smoothing and the steps that removing a unit takes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.gates import InputGate
from pruning_core.recipe import Recipe


def test_without_total_steps_nothing_changes() -> None:
    recipe = Recipe.checked(0.95, 0, None, None)
    assert [recipe.smoothing_after(step) for step in (0, 10_000)] == [0.95, 0.95]
    assert [recipe.price_scale(step) for step in (0, 10_000)] == [1.0, 1.0]
    assert recipe.settle_at == math.inf


def test_the_window_grows_to_a_tenth_of_the_steps_and_the_price_in_a_straight_line() -> None:
    recipe = Recipe.checked(0.99, 400, 9_000, None)
    windows = [1 / (1 - recipe.smoothing_after(step)) for step in (0, 999, 1_000, 5_000)]
    assert windows == pytest.approx([100, 100, 100, 500])
    assert [recipe.price_scale(step) for step in (0, 100, 400, 5_000)] == [0, 0.25, 1, 1]
    assert recipe.settle_at == 7_500


@pytest.mark.parametrize("theta", [1.0, 0.4])
@pytest.mark.parametrize("theta_step", [1 / 60, 1 / 300])
@pytest.mark.parametrize(("total_steps", "ramp_steps"), [(None, 0), (3_000, 0), (3_000, 300)])
def test_a_worthless_unit_is_dead_after_as_many_steps_as_foretold(
    theta: float, theta_step: float, total_steps: int | None, ramp_steps: int
) -> None:
    """A pixel that is always black, in a network that is trained."""
    torch.manual_seed(0)
    gate = InputGate(3, theta=theta)
    model = nn.Sequential(gate, nn.Linear(3, 2)).train()
    pruner = BernoulliPruner(
        model, 7.0, 500, theta_step=theta_step, total_steps=total_steps, ramp_steps=ramp_steps
    )
    foretold = pruner.recipe.steps_to_remove(theta, theta_step)
    inputs, labels = torch.rand(4, 3), torch.randint(2, (4,))
    inputs[:, 1] = 0
    for _ in range(foretold - 2):
        (F.cross_entropy(model(inputs), labels) + pruner.penalty()).backward()
        pruner.step()
    assert not bool(pruner.dead_units()["0"][1])
    for _ in range(4):
        (F.cross_entropy(model(inputs), labels) + pruner.penalty()).backward()
        pruner.step()
    assert bool(pruner.dead_units()["0"][1])


def test_a_unit_that_never_moves_takes_more_than_anyone_waits() -> None:
    assert Recipe(0.5).steps_to_remove(0.9, 1e-9) == 1_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 0, None, None), r"smoothing is 1\.0; a number in \[0, 1\)"),
        ((0.9, 5, None, None), "ramp_steps and settle_at need total_steps="),
        ((0.9, 0, None, 7), "ramp_steps and settle_at need total_steps="),
        ((0.9, 0, 0, None), "total_steps is 0; the steps of the run are at least 1"),
        ((0.9, 0, 10, 0), "settle_at is 0; a number of steps, at least 1"),
        ((0.9, 0, 10, math.nan), "settle_at is nan; a number of steps"),
        ((0.9, 8, 10, None), "ramp_steps is 8; 0 to the 8 steps"),
        ((0.9, -1, 10, None), "ramp_steps is -1; 0 to the 8 steps"),
        ((0.9, math.nan, 10, math.inf), "ramp_steps is nan; 0 to the 10 steps"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(
    arguments: tuple[float, float, int | None, float | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.checked(*arguments)
