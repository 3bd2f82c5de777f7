"""A smooth model of three gates, and the mean of an estimator over every draw of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.gates import BernoulliGate
from pruning_core.pathwise import Pathwise, SharedDraws

THETA = (0.2, 0.55, 0.9)
INPUTS = torch.tensor([[0.5, -1.0], [1.5, 0.3], [-0.7, 2.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1])


class Smooth(nn.Module):
    """Two inputs, three gated tanh units, two classes; the gates interact."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(27)  # all three gates interact
        self.first, self.gate, self.second = nn.Linear(2, 3), BernoulliGate(3), nn.Linear(3, 2)
        self.double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(3)
        self.gate.theta.data = torch.tensor(THETA, dtype=torch.float64)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.gate(torch.tanh(self.first(inputs))))

    def losses(self) -> Tensor:
        """Of every example, in nats."""
        return F.cross_entropy(self(INPUTS), LABELS, reduction="none")

    def loss_at(self, values: Tensor) -> Tensor:
        """L in nats with the gates at each row of values, (m, 3) to (m,), and no gate at work."""
        hidden = torch.tanh(INPUTS @ self.first.weight.T + self.first.bias)
        logits = torch.einsum("eh,mh,ch->mec", hidden, values, self.second.weight)
        chosen = (logits + self.second.bias).log_softmax(-1)[:, torch.arange(3), LABELS]
        return -chosen.sum(1)


def mean_over_draws(
    model: Smooth,
    estimator: Pathwise,
    numbers: Sequence[Tensor],
    chances: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """An estimator's own mean: it runs on every combination of what its gates may draw.

    Args:
        model: whose gate gets the estimator.
        estimator: one that draws ``torch.rand``, or from numbers of its own in strata.
        numbers: for each gate the uniform numbers of each of its draws, (k,) or (k, 2).
        chances: for each gate how likely each of these draws is, (k,).

    Returns:
        The mean gradients of the summed loss in θ and in the parameters.
    """
    index = torch.cartesian_prod(*[torch.arange(len(c)) for c in chances])
    drawn = torch.stack([numbers[i][index[:, i]] for i in range(3)], -1)
    weight = torch.stack([chances[i][index[:, i]] for i in range(3)], -1).prod(-1)
    if drawn.dim() == 3:
        drawn = drawn.movedim(1, 0)
    model.gate.estimator = estimator
    model.zero_grad()
    model.gate.theta.grad = None
    for example, label in zip(INPUTS, LABELS, strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "rand", lambda *_, **__: drawn)
            patch.setattr(SharedDraws, "_uniform", lambda *_: drawn)
            logits = model(example.expand(len(weight), -1))
        labels = label.expand(len(weight))
        (weight * F.cross_entropy(logits, labels, reduction="none")).sum().backward()
    assert model.gate.theta.grad is not None
    return model.gate.theta.grad, [p.grad for p in model.parameters() if p.grad is not None]


def slopes_of(model: Smooth, loss: Callable[[], Tensor], step: float = 1e-5) -> Tensor:
    """Central differences of a number in every weight and bias of the model, as one vector."""
    found = []
    for parameter in model.parameters():
        flat = parameter.detach().view(-1)
        for index in range(flat.numel()):
            ends = []
            for sign in (1, -1):
                flat[index] += sign * step
                ends.append(float(loss()))
                flat[index] -= sign * step
            found.append((ends[0] - ends[1]) / (2 * step))
    return torch.tensor(found, dtype=torch.float64)
