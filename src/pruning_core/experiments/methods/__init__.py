"""The training methods, by the name the command line gives them."""

from pruning_core.experiments.methods.bernoulli import Bernoulli
from pruning_core.experiments.methods.masked import IterativeMagnitude, Magnitude, Random, Snip
from pruning_core.experiments.methods.method import Dense, Method
from pruning_core.experiments.methods.penalised import (
    L1,
    L2,
    BridgeThird,
    HaloPenalty,
    SparseVariationalDropout,
    Sws,
)
from pruning_core.experiments.methods.structured import L0, GroupLassoOnUnits
from pruning_core.experiments.methods.survivors import Survivors
from pruning_core.experiments.methods.vib import VariationalBottleneck

METHODS: dict[str, type[Method]] = {
    "bernoulli": Bernoulli,
    "dense": Dense,
    "halo": HaloPenalty,
    "l1": L1,
    "sws": Sws,
    "ridge": L2,
    "bridge": BridgeThird,
    "group-lasso": GroupLassoOnUnits,
    "magnitude": Magnitude,
    "iterative-magnitude": IterativeMagnitude,
    "random": Random,
    "snip": Snip,
    "l0": L0,
    "sparse-vd": SparseVariationalDropout,
    "vib": VariationalBottleneck,
}
"""Methods by name."""

__all__ = ["METHODS", "Dense", "Method", "Survivors"]
