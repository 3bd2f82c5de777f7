"""A loss along one gate, and where each estimator of its slope brings θ to rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.gates import BernoulliGate
from pruning_core.pathwise import Pathwise


@dataclass(frozen=True)
class LogisticGate:
    """N examples whose log-odds for the right label are ``log_odds`` · ξ.

    With the gate off the model guesses; with it on, it is right with log-odds a. So
    L(ξ) = N log(1 + exp(−aξ)) in nats, a convex function of ξ ∈ [0, 1].

    Args:
        num_examples: N.
        log_odds: a > 0.
    """

    num_examples: int = 100
    log_odds: float = 4.0

    def loss(self, xi: Tensor) -> Tensor:
        """L(ξ) in nats, elementwise."""
        return self.num_examples * F.softplus(-self.log_odds * xi)

    def derivative(self, xi: float) -> float:
        """L′(ξ) in nats."""
        return -self.num_examples * self.log_odds / (1 + math.exp(self.log_odds * xi))

    @property
    def worth(self) -> float:
        """What the unit is worth, L(0) − L(1), in nats."""
        ends = self.loss(torch.tensor([0.0, 1.0], dtype=torch.float64))
        return float(ends[0] - ends[1])

    def straight_through_slope(self, theta: Tensor, log_gamma: float) -> Tensor:
        """Expectation of the straight-through estimate of ∂J/∂θ, elementwise, in nats."""
        return torch.lerp(
            torch.as_tensor(self.derivative(0.0)), torch.as_tensor(self.derivative(1.0)), theta
        ).add(log_gamma)

    def straight_through_rest(self, log_gamma: float) -> float:
        """θ where the straight-through step comes to rest (eq-gradient-rest)."""
        at_0, at_1 = self.derivative(0.0), self.derivative(1.0)
        return min(max((-log_gamma - at_0) / (at_1 - at_0), 0.0), 1.0)

    def descend(
        self,
        estimator: Pathwise,
        starts: Tensor,
        log_gamma: float,
        *,
        steps: int = 1500,
        theta_step: float = 1 / 200,
    ) -> Tensor:
        """θ as :class:`BernoulliPruner` moves it with this estimator.

        Args:
            estimator: of the gradient.
            starts: θ at the start, one for each of k gates that know nothing of each other; (k,).
            log_gamma: price in nats.
            steps: of the pruner.
            theta_step: see there.

        Returns:
            θ after every step; shape (``steps`` + 1, k).
        """
        gate = BernoulliGate(len(starts), estimator=estimator)
        gate.theta.data.copy_(starts)
        pruner = BernoulliPruner(
            nn.Sequential(gate), log_gamma, self.num_examples, theta_step=theta_step
        )
        inputs = torch.ones(self.num_examples, len(starts))
        path = [starts.clone()]
        for _ in range(steps):
            loss = (self.loss(gate(inputs)) / self.num_examples).sum(1).mean() + pruner.penalty()
            loss.backward()
            pruner.step()
            path.append(gate.theta.detach().clone())
        return torch.stack(path)
