"""The chapter on HALO's results: what a cut changes, on a network."""

import pytest
import torch
from torch import nn

from pruning_core.sparsity import make_permanent_, prune_


@pytest.mark.parametrize("zeros_percent", [0.0, 40.0, 79.9])
def test_thm_results_halo_level(zeros_percent: float) -> None:
    """A network with 80 % zeros computes the same after a smaller cut, and not after a larger."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, 10))
    make_permanent_(prune_(model, 80))
    images = torch.randn(100, 50)
    before = model(images)
    assert torch.equal(make_permanent_(prune_(model, zeros_percent))(images), before)
    assert not torch.equal(make_permanent_(prune_(model, 85))(images), before)
