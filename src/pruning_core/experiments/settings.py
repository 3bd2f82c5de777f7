"""The settings of a run: what each means, its range, and what is recommended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pruning_core.estimators import ESTIMATORS
from pruning_core.experiments.methods import METHOD_SETTINGS, METHODS
from pruning_core.hyperprior import HYPER_PRIORS
from pruning_core.models import INITIALISATIONS, MODELS


@dataclass(frozen=True)
class Settings:
    """Everything that decides the outcome of a run, apart from the data themselves.

    Attributes:
        model: a name in :data:`pruning_core.models.MODELS`.
        method: a name in :data:`pruning_core.experiments.methods.METHODS`.
        seed: of every random draw.
        epochs: passes over the training set, the deterministic last ones included.
        batch_size: examples a step.
        optimizer: "adam", or "sgd" with momentum 0.9.
        learning_rate: of the optimizer, at its highest.
        schedule: "cosine" to 0, or "step": a tenth after half and after three quarters.
        weight_decay: λ ≥ 0 of (λ/2) ‖W‖², in nats over the training set.
        log_gamma: nats a unit must be worth; one value, or one for each gate in order.
        gate_inputs: gate the input pixels (LeNet-300-100).
        gate_features: gate the 800 flattened features (LeNet-5).
        hidden: sizes at the start, of LeNet-300-100's hidden layers, or of LeNet-5's two layers of
            filters and its hidden layer; if empty, those that the model is named after.
        initialisation: of the weights, a name in :data:`pruning_core.models.INITIALISATIONS`.
        initial_scale: factor on the weights at the start.
        hyper_prior: "flattening"; or "fixed" or "beta", chosen such that a unit that is certainly
            kept costs log γ more than one that is certainly not.
        theta: initial probability of every gate.
        theta_step: step on θ; see :class:`pruning_core.BernoulliPruner`.
        smoothing: of the running average of ∂J/∂θ.
        estimator: of ∂J/∂θ, a name in :data:`pruning_core.estimators.ESTIMATORS`.
        bernoulli_epochs: epochs during which θ moves; the others train what is left.
        ramp_epochs: over which the price of a unit rises from 0 to log γ, or a penalty's strength
            (ψ, where there is one) from 0 to its value.
        compact: remove dead units while training; False leaves them masked to the end of the
            Bernoulli phase (for comparison: slower, nothing else).
        xi: ξ of HALO, price of the weights; see :class:`pruning_core.Halo`.
        psi: ψ of HALO, price of the coefficients.
        initial_coefficient: λ of HALO at the start.
        budget: P of HALO's variant ψ |Σ|λ| − P|, or None.
        zeros_percent: of the weights, for the methods that cut to a given share.
        fine_tune_epochs: the last epochs, which train what a cut has left.
        layerwise: the share of zeros holds in each layer, not for all weights together.
        proximal: HALO takes proximal steps, which end in exact zeros.
        strength: coefficient of the methods that have only one, in nats per example.

    Raises:
        ValueError: naming the first value out of range, and what was expected.
    """

    model: str = "lenet-300-100"
    method: str = "bernoulli"
    seed: int = 0
    epochs: int = 90
    batch_size: int = 128
    optimizer: str = "adam"
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float = 0.0
    log_gamma: tuple[float, ...] = (28.0,)
    gate_inputs: bool = False
    gate_features: bool = False
    hidden: tuple[int, ...] = ()
    initialisation: str = "default"
    initial_scale: float = 1.0
    hyper_prior: str = "flattening"
    theta: float = 0.9
    theta_step: float = 1 / 1500
    smoothing: float = 0.99
    estimator: str = "integrated-shared"
    bernoulli_epochs: int = 75
    ramp_epochs: float = 0.0
    compact: bool = True
    xi: float = 1e-5
    psi: float = 1e-4
    initial_coefficient: float = 1.0
    budget: float | None = None
    zeros_percent: float = 95.0
    fine_tune_epochs: int = 0
    layerwise: bool = False
    proximal: bool = False
    strength: float = 1e-5

    def __post_init__(self) -> None:
        choices = {
            "model": MODELS,
            "method": METHODS,
            "schedule": ("cosine", "step"),
            "optimizer": ("adam", "sgd"),
            "estimator": ESTIMATORS,
            "initialisation": INITIALISATIONS,
            "hyper_prior": HYPER_PRIORS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        read = METHODS[self.method].settings
        longest = "bernoulli_epochs" if "bernoulli_epochs" in read else "epochs"
        ranges = {
            "seed": (0 <= self.seed < 2**63, "0 to 2⁶³ − 1"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (0 < self.learning_rate < math.inf, "a finite number above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "λ ≥ 0, finite"),
            "log_gamma": (
                len(self.log_gamma) > 0 and all(0 < x < math.inf for x in self.log_gamma),
                "finite numbers above 0 nats (γ > 1)",
            ),
            "initial_scale": (0 < self.initial_scale < math.inf, "a finite number above 0"),
            "theta": (0 <= self.theta <= 1, "a probability in [0, 1]"),
            "theta_step": (0 < self.theta_step <= 1, "a number in (0, 1]"),
            "smoothing": (0 <= self.smoothing < 1, "a number in [0, 1)"),
            "bernoulli_epochs": (
                1 <= self.bernoulli_epochs <= self.epochs or "bernoulli_epochs" not in read,
                "1 to epochs",
            ),
            "xi": (0 < self.xi < math.inf, "a finite number above 0"),
            "psi": (0 < self.psi < math.inf, "a finite number above 0"),
            "strength": (0 <= self.strength < math.inf, "a finite number ≥ 0"),
            "zeros_percent": (0 <= self.zeros_percent < 100, "a share of the weights in [0, 100)"),
            "fine_tune_epochs": (0 <= self.fine_tune_epochs <= self.epochs, "0 to epochs"),
            "initial_coefficient": (
                0 < self.initial_coefficient < math.inf,
                "a finite number above 0",
            ),
            "budget": (self.budget is None or 0 <= self.budget < math.inf, "a finite number ≥ 0"),
            "ramp_epochs": (
                0 <= self.ramp_epochs < getattr(self, longest),
                f"0 to {longest}, without it",
            ),
        }
        for name, (ok, expected) in ranges.items():
            if not ok:
                raise ValueError(f"{name} is {getattr(self, name)}; expected {expected}")
        if self.gate_inputs and self.model != "lenet-300-100":
            raise ValueError(
                f"gate_inputs needs a fully connected model, not {self.model}; convolutions read "
                "every pixel (gate_features gates the flattened features of lenet-5)"
            )
        if self.gate_features and self.model != "lenet-5":
            raise ValueError(f"gate_features is for the features of lenet-5, not {self.model}")

        sizes = {"lenet-300-100": 2, "lenet-5": 3}[self.model]
        if self.hidden and (len(self.hidden) != sizes or min(self.hidden) < 1):
            raise ValueError(
                f"hidden is {self.hidden}; {sizes} sizes, at least 1 each, were expected for "
                f"{self.model}"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """Those that ``summary.json`` holds, whose lists are tuples here."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)

    def model_options(self, *, gated: bool | None = None) -> dict[str, Any]:
        """Keyword arguments of the model's builder; with the gates of the method by default."""
        if gated is None:
            gated = METHODS[self.method].gated
        options: dict[str, Any] = {"gated": gated}
        if self.hidden and self.model == "lenet-5":
            options |= {"filters": list(self.hidden[:2]), "hidden": self.hidden[2]}
        elif self.hidden:
            options["hidden"] = list(self.hidden)
        if gated and self.model == "lenet-300-100":
            options["gate_inputs"] = self.gate_inputs
        if gated and self.model == "lenet-5":
            options["gate_features"] = self.gate_features
        return options


_BY_SGD: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "batch_size": 100,
    "epochs": 60,
}
_BY_ADAM = _BY_SGD | {"optimizer": "adam", "learning_rate": 1e-3}
_BY_METHOD: dict[str, dict[str, Any]] = {
    "halo": _BY_SGD | {"xi": 3e-5, "psi": 5e-5},
    "l1": _BY_SGD | {"strength": 3e-5},
    "sws": _BY_SGD | {"xi": 1e-4, "psi": 3e-2},
    "ridge": _BY_SGD | {"strength": 1e-4},
    "bridge": _BY_SGD | {"strength": 4e-5},
    "group-lasso": _BY_SGD | {"strength": 3e-5, "fine_tune_epochs": 15},
    "magnitude": _BY_SGD | {"weight_decay": 6.0},
    "iterative-magnitude": _BY_SGD | {"fine_tune_epochs": 30, "weight_decay": 20.0},
    "random": _BY_SGD | {"fine_tune_epochs": 30},
    "snip": _BY_SGD | {"weight_decay": 20.0},
    "l0": _BY_ADAM | {"strength": 1.8e-6},
    "sparse-vd": _BY_ADAM | {"strength": 1 / 60_000, "ramp_epochs": 30.0},
}
_BY_MODEL_AND_METHOD: dict[tuple[str, str], dict[str, Any]] = {
    ("lenet-5", "halo"): {"epochs": 30, "xi": 2e-5, "psi": 1e-4},
    ("lenet-5", "l1"): {"epochs": 20, "strength": 1e-4},
    ("lenet-5", "sws"): {"epochs": 20, "xi": 3e-4},
    ("lenet-5", "bridge"): {"epochs": 20, "strength": 8e-5},
    ("lenet-5", "iterative-magnitude"): {"epochs": 20, "fine_tune_epochs": 10, "weight_decay": 6.0},
    ("lenet-5", "snip"): {"epochs": 20, "weight_decay": 6.0},
    ("lenet-5", "group-lasso"): {"epochs": 20, "fine_tune_epochs": 5, "strength": 1e-4},
    ("lenet-5", "l0"): {"epochs": 40, "strength": 2e-6},
    ("lenet-5", "sparse-vd"): {"epochs": 40, "ramp_epochs": 20.0},
    ("lenet-5", "dense"): {"epochs": 60},
    ("lenet-5", "bernoulli"): {
        "epochs": 60,
        "bernoulli_epochs": 42,
        "ramp_epochs": 1.0,
        "theta_step": 1 / 500,
        "estimator": "integrated",
        "log_gamma": (100.0, 170.0, 25.0),
        "weight_decay": 4.0,
    },
}
"""What differs from the defaults of :class:`Settings`, by method, or by model and method.

They were chosen on the validation split, of LeNet-300-100 where LeNet-5 has no line of its own;
``studies/search-*.toml`` says what was tried. LeNet-5's of bernoulli extend to 60 epochs what ran
there for 40 and 50; LeNet-300-100's of halo and of l0 lie between two that ran there.
"""


_LENET_5_EPOCHS = 20
"""Of the methods without a line for LeNet-5 above."""


def recommended(model: str, method: str = "bernoulli", **changes: Any) -> Settings:
    """The settings that are recommended for a model and a method.

    Args:
        model: a name in :data:`pruning_core.models.MODELS`.
        method: a name in :data:`pruning_core.experiments.methods.METHODS`.
        changes: attributes of :class:`Settings` that are to differ from it.

    Raises:
        ValueError: for an unknown name or a value out of range.
    """
    unknown = set(changes) - {f.name for f in fields(Settings)}
    if unknown:
        raise ValueError(f"unknown settings {sorted(unknown)}")
    base = Settings(model=model, method=method)
    for name in changes.keys() & (METHOD_SETTINGS - METHODS[method].settings):
        readers = ", ".join(key for key, value in METHODS.items() if name in value.settings)
        raise ValueError(f"{name} does not apply to the method {method}; it is for {readers}")
    base = replace(base, **_BY_METHOD.get(method, {}))
    base = replace(base, **_BY_MODEL_AND_METHOD.get((model, method), {}))
    if model == "lenet-5" and (model, method) not in _BY_MODEL_AND_METHOD:
        changes.setdefault("epochs", _LENET_5_EPOCHS)
    # The parts of a run keep their shares of it.
    if "epochs" in changes:
        share = changes["epochs"] / base.epochs
        if "bernoulli_epochs" in METHODS[method].settings:
            changes.setdefault("bernoulli_epochs", max(1, round(base.bernoulli_epochs * share)))
        else:
            changes.setdefault("ramp_epochs", base.ramp_epochs * share)
        changes.setdefault("fine_tune_epochs", round(base.fine_tune_epochs * share))
    if "bernoulli_epochs" in changes:
        share = changes["bernoulli_epochs"] / base.bernoulli_epochs
        changes.setdefault("ramp_epochs", base.ramp_epochs * share)
    return replace(base, **changes)
