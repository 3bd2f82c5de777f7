r"""Noisy gates that pay for what they let through: VIBNet (Dai et al. 2018, arXiv 1802.10399).

Every unit is multiplied by a Gaussian number, z = μ + σ ε, and a layer of them costs

    P = ½ Σ_j log(1 + μ_j²/σ_j²)    nats per example.

It comes from a bound on what the layer can tell of its input. Let f_j be the activations, h_j =
z_j f_j what the next layer reads, and x what the layer reads itself. For any density q,

    I(h; x) ≤ E_x KL(p(h | x) ‖ q(h)),    p(h_j | x) = N(μ_j f_j, σ_j² f_j²),

and for q = Π_j N(0, s_j), which is at its best with s_j = (μ_j² + σ_j²) E f_j², the right side is

    ½ Σ_j [log(1 + μ_j²/σ_j²) + log E f_j² − E log f_j²]

if no f_j is exactly 0. (Where a unit is silent h_j = 0, a point that no density covers; what the
silence tells, up to log 2 nats a unit, is not in the bound.) The last two terms are together not
negative (Jensen) and know nothing of μ, σ or the scale of f: P is without them.

What is left is the capacity of channels with Gaussian noise, at signal-to-noise ratios μ²/σ². The
next layer can undo any scale of z, but not that ratio: there is no cheap way around the price. A
unit whose noise has as much power as its signal, α = σ²/μ² ≥ 1, is taken out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pruning_core.pathwise import broadcast

LOG_ALPHA_LIMIT = 0.0
"""Units leave whose log α = log σ²/μ² is at least this, as their noise has at least their power."""

LOG_VARIANCE = 2 * math.log(0.01)
"""log σ² at the start, where μ is 1 and the noise so one percent."""

_TINY = 1e-12


class BottleneckGate(nn.Module):
    """Multiply every unit by μ + σ ε, with ε ~ N(0, 1) drawn for each example in training mode.

    In evaluation mode a unit is multiplied by μ, or by 0 if log α ≥ :data:`LOG_ALPHA_LIMIT`. Both
    μ and log σ² are parameters, for the optimizer of the weights.

    Args:
        num_units: number of units or filters, n.

    Shape:
        input and output (N, n) or (N, n, …).
    """

    def __init__(self, num_units: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.ones(num_units))
        self.log_variance = nn.Parameter(torch.full((num_units,), LOG_VARIANCE))

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return inputs * broadcast(self.multipliers().unsqueeze(0), inputs)
        noise = torch.randn(len(inputs), len(self.mean), device=inputs.device)
        spread = torch.exp(0.5 * self.log_variance)
        return inputs * broadcast(torch.addcmul(self.mean, spread, noise), inputs)

    def log_alpha(self) -> Tensor:
        """log α = log σ²/μ² of every unit; shape (n,)."""
        return self.log_variance - torch.log(self.mean.square() + _TINY)

    def multipliers(self) -> Tensor:
        """z of the deterministic network; shape (n,)."""
        return self.mean * (self.log_alpha() < LOG_ALPHA_LIMIT)

    def information(self) -> Tensor:
        """P = ½ Σ log(1 + μ²/σ²), in nats per example; a scalar."""
        return 0.5 * nn.functional.softplus(-self.log_alpha()).sum()

    def extra_repr(self) -> str:
        return f"num_units={len(self.mean)}"
