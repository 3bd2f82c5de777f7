"""The recommended operating points: what differs from the defaults of the settings."""

from __future__ import annotations

from typing import Any

_BY_SGD: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "batch_size": 100,
    "epochs": 60,
}
_BY_ADAM = _BY_SGD | {"optimizer": "adam", "learning_rate": 1e-3}
BY_METHOD: dict[str, dict[str, Any]] = {
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
    "vib": {"epochs": 90, "fine_tune_epochs": 15, "strength": 3e-4},
}
"""What differs from the defaults of the settings, by method."""

_LAYERS: dict[str, Any] = {
    "epochs": 24,
    "bernoulli_epochs": 16,
    "ramp_epochs": 1.0,
    "learning_rate": 1e-3,
    "theta_step": 1 / 800,
    "estimator": "integrated",
    "log_gamma": (28.0, 300.0),
}

_SHORT: dict[str, Any] = {"epochs": 12, "bernoulli_epochs": 8, "learning_rate": 2e-3}

BY_MODEL_AND_METHOD: dict[tuple[str, str], dict[str, Any]] = {
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
    ("residual-perceptron", "dense"): {"epochs": 24, "learning_rate": 1e-3},
    ("residual-perceptron", "bernoulli"): _LAYERS,
    ("residual-cnn", "dense"): {"epochs": 12},
    ("residual-cnn", "bernoulli"): _LAYERS | _SHORT | {"log_gamma": (28.0, 1000.0)},
    ("lenet-5-skip", "dense"): {"epochs": 12},
    ("lenet-5-skip", "bernoulli"): _LAYERS | _SHORT | {"weight_decay": 4.0},
}
"""What differs from these and from the defaults, by model and method.

All were chosen on the validation split, of LeNet-300-100 where LeNet-5 has no line of its own;
``studies/search-*.toml`` says what was tried. LeNet-5's of bernoulli extend to 60 epochs what ran
there for 40 and 50; LeNet-300-100's of halo and of l0 lie between two that ran there. For networks
whose sections may leave nothing was searched: the price is that of a first trial or two.
"""


LENET_5_EPOCHS = 20
"""Of the methods without a line for LeNet-5 above."""
