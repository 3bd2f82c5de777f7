"""The settings of a run: what each means, its range, and what is recommended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pruning_core.estimators import ESTIMATORS
from pruning_core.expected_size import CURRENCIES
from pruning_core.experiments.kinds import Choice, Kind, Number, Several, Switch, Whole
from pruning_core.experiments.operating_points import (
    BY_METHOD,
    BY_MODEL_AND_METHOD,
    LENET_5_EPOCHS,
)
from pruning_core.hyperprior import HYPER_PRIORS
from pruning_core.models import INITIALISATIONS, MODELS
from pruning_core.residual import GATES, MOST_SECTIONS

METHOD_NAMES = (
    *("bernoulli", "dense", "halo", "l1", "sws", "ridge", "bridge", "group-lasso", "magnitude"),
    *("iterative-magnitude", "random", "snip", "l0", "sparse-vd", "vib"),
)
"""Of the training methods; their classes are in :mod:`pruning_core.experiments.methods`."""

_GATED = ("bernoulli", "group-lasso", "l0", "vib")
_HALO = ("halo", "sws")
_ONE_STRENGTH = ("l1", "ridge", "bridge", "sparse-vd")
_CUT = ("magnitude", "iterative-magnitude", "random")

_POSITIVE = Number(0, without=(0,))
_PRICE = Number(0, without=(0,), unit=" nats (γ > 1)")


def _setting(default: Any, kind: Kind, meaning: str, methods: tuple[str, ...] = ()) -> Any:
    """All that is known of a setting; if ``methods`` are given, no other reads it."""
    metadata = {"kind": kind, "meaning": meaning, "methods": methods}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the outcome of a run, apart from the data themselves.

    Raises:
        ValueError: naming the first value out of range, and what was expected.
    """

    model: str = _setting("lenet-300-100", Choice(MODELS), "the network before pruning")
    method: str = _setting("bernoulli", Choice(METHOD_NAMES), "of training and pruning")
    seed: int = _setting(0, Whole(0, 2**63 - 1), "of every random draw")
    epochs: int = _setting(
        90, Whole(1), "passes over the training set, the deterministic last ones included"
    )
    batch_size: int = _setting(128, Whole(1), "examples a step")
    batch_growth: int = _setting(
        1,
        Whole(1),
        "up to so many times as many examples a step, as the network shrinks: twice as many once "
        "half of the weights have left, and so on; until the survivor_epochs",
        ("bernoulli",),
    )
    optimizer: str = _setting("adam", Choice(("adam", "sgd")), "sgd has momentum 0.9")
    learning_rate: float = _setting(
        2e-3, _POSITIVE, "of the optimizer, at its highest; falls to 0 along half a cosine"
    )
    weight_decay: float = _setting(
        0.0, Number(0, noun="λ"), "λ of (λ/2) ‖W‖², in nats over the training set"
    )
    log_gamma: tuple[float, ...] = _setting(
        (28.0,),
        Several(_PRICE, 1),
        "nats of training log-likelihood that a unit must be worth to stay; one value, or one for "
        "each gate in order; of a model whose sections may leave, one, or one of units and one of "
        "sections",
        ("bernoulli",),
    )
    price: str = _setting(
        "units",
        Choice(CURRENCIES),
        "what log γ is paid for: each unit, or each weight or multiply-accumulate that is left, of "
        "which a unit costs what it would save",
        ("bernoulli",),
    )
    gate_inputs: bool = _setting(
        False, Switch(), "gate the input pixels of lenet-300-100 or residual-perceptron", _GATED
    )
    gate_features: bool = _setting(
        False, Switch(), "gate the 800 flattened features of lenet-5", _GATED
    )
    hidden: tuple[int, ...] = _setting(
        (),
        Several(Whole(1, 2**16)),
        "sizes at the start, of lenet-300-100's hidden layers, of lenet-5's two layers of filters "
        "and its hidden layer, or of a residual network's stream and the inside of its sections; "
        "if left out, those that the model is known by",
    )
    sections: int = _setting(
        0,
        Whole(0, MOST_SECTIONS),
        "sections at the start, of residual-perceptron and residual-cnn; 0 for 10",
    )
    gates: str = _setting(
        "layers",
        Choice(GATES),
        "of a model whose sections may leave: on its sections, its units, or both",
        ("bernoulli",),
    )
    initialisation: str = _setting("default", Choice(INITIALISATIONS), "of the weights")
    initial_scale: float = _setting(1.0, _POSITIVE, "factor on the weights at the start")
    hyper_prior: str = _setting(
        "flattening",
        Choice(HYPER_PRIORS),
        "of a unit's probability; fixed and beta are chosen such that a unit that is certainly "
        "kept costs log γ more than one that is certainly not",
        ("bernoulli",),
    )
    theta: float = _setting(
        0.9,
        Number(0, 1, noun="probability"),
        "initial probability of every gate",
        ("bernoulli", "l0"),
    )
    theta_step: float = _setting(
        1 / 1500, Number(0, 1, (0,)), "step on θ of a unit worth nothing", ("bernoulli",)
    )
    smoothing: float = _setting(
        0.99, Number(0, 1, (1,)), "of the running average of ∂J/∂θ", ("bernoulli",)
    )
    estimator: str = _setting("integrated-shared", Choice(ESTIMATORS), "of ∂J/∂θ", ("bernoulli",))
    bernoulli_epochs: int = _setting(
        75, Whole(1), "epochs during which θ moves; the others train what is left", ("bernoulli",)
    )
    ramp_epochs: float = _setting(
        0.0,
        Number(0),
        "epochs over which the price of a unit rises from 0 to log γ, or a penalty's strength (ψ, "
        "where there is one) from 0 to its value",
        ("bernoulli", *_HALO, *_ONE_STRENGTH),
    )
    compact: bool = _setting(
        True,
        Switch(),
        "remove dead units while training; or else leave them in to the end of the Bernoulli "
        "phase, and note which of them open again (slower)",
        ("bernoulli",),
    )
    xi: float = _setting(1e-5, _POSITIVE, "ξ, price of the weights", _HALO)
    psi: float = _setting(1e-4, _POSITIVE, "ψ, price of the coefficients", _HALO)
    initial_coefficient: float = _setting(1.0, _POSITIVE, "λ at the start", _HALO)
    coefficient_interval: int = _setting(
        1, Whole(1), "k, if λ moves in every k-th step alone, by k times its step", ("halo",)
    )
    zeros_percent: float = _setting(
        95.0,
        Number(0, 100, (100,), noun="share of the weights"),
        "share of zeros to cut the weights to",
        (*_CUT, "snip"),
    )
    fine_tune_epochs: int = _setting(
        0,
        Whole(0),
        "the last epochs, which train what a cut has left",
        ("group-lasso", *_CUT, "l0", "vib"),
    )
    layerwise: bool = _setting(
        False,
        Switch(),
        "the share of zeros holds in each layer, not for all weights together",
        (*_CUT, "snip"),
    )
    proximal: bool = _setting(
        False, Switch(), "take proximal steps, which end in exact zeros", ("halo",)
    )
    strength: float = _setting(
        1e-5,
        Number(0),
        "coefficient of the methods that have only one, in nats per example",
        (*_ONE_STRENGTH, "group-lasso", "l0", "vib"),
    )
    survivor_epochs: int = _setting(
        0,
        Whole(0),
        "further epochs, after all others, which train what is left without any price, by a fresh "
        "optimizer whose rate falls along half a cosine of its own; zeros stay zeros",
    )
    input_noise: float = _setting(
        0.0,
        Number(0),
        "in the survivor_epochs, standard deviation of random factors around 1 on the pixels",
    )
    worst_case: float = _setting(
        0.0,
        Number(0, noun="ε"),
        "in the survivor_epochs, the Euclidean length of the change of each image that raises its "
        "loss most, to first order; they train on the images so changed",
    )

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            kind.check(name, getattr(self, name))
        read, architecture = reads(self.method), MODELS[self.model]
        longest = "bernoulli_epochs" if "bernoulli_epochs" in read else "epochs"
        ranges = {
            "bernoulli_epochs": (
                self.bernoulli_epochs <= self.epochs or "bernoulli_epochs" not in read,
                "1 to epochs",
            ),
            "fine_tune_epochs": (self.fine_tune_epochs <= self.epochs, "0 to epochs"),
            "ramp_epochs": (
                self.ramp_epochs < getattr(self, longest),
                f"0 to {longest}, without it",
            ),
            "hidden": (
                len(self.hidden) in (0, len(architecture.hidden)),
                f"{len(architecture.hidden)} sizes for {self.model}",
            ),
            **{
                name: (
                    not getattr(self, name) or self.survivor_epochs > 0,
                    "0 without survivor_epochs",
                )
                for name in ("input_noise", "worst_case")
            },
        }
        for name, (ok, expected) in ranges.items():
            if not ok:
                raise ValueError(f"{name} is {getattr(self, name)}; expected {expected}")
        if self.gate_inputs and architecture.gate_option != "gate_inputs":
            raise ValueError(
                f"gate_inputs needs a fully connected model, not {self.model}; convolutions read "
                "every pixel (gate_features gates the flattened features of lenet-5)"
            )
        if self.sections and not architecture.sections:
            counted = [name for name, known in MODELS.items() if known.sections]
            raise ValueError(f"sections is for {' and '.join(counted)}, not {self.model}")
        if self.gates != "layers" and not architecture.has_sections:
            raise ValueError(f"gates is for models whose sections may leave, not {self.model}")
        if self.gate_features and architecture.gate_option != "gate_features":
            raise ValueError(f"gate_features is for the features of lenet-5, not {self.model}")
        if "hyper_prior" in read:
            for price in self.log_gamma:
                HYPER_PRIORS[self.hyper_prior](price)
        if "price" in read and self.price != "units":
            if len(self.log_gamma) > 1:
                raise ValueError(
                    f"log_gamma is {self.log_gamma}; with the price of {self.price} one number was "
                    "expected, nats for each"
                )
            if self.hyper_prior != "flattening":
                raise ValueError(
                    f"hyper_prior is {self.hyper_prior}; only flattening can price {self.price}"
                )

    @property
    def total_epochs(self) -> int:
        """Passes over the training set from the first to the last, the survivors' included."""
        return self.epochs + self.survivor_epochs

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """Those that ``summary.json`` holds, also of an earlier version.

        Raises:
            ValueError: naming a setting that is unknown, of another type, or out of range.
        """
        gone = {name for name, only in _RETIRED.items() if values.get(name, only) == only}
        return cls(**read({name: values[name] for name in values if name not in gone}))

    def model_options(self, *, gated: bool | None = None) -> dict[str, Any]:
        """Keyword arguments of the model's builder; with the gates of the method by default."""
        if gated is None:
            gated = is_gated(self.method)
        architecture = MODELS[self.model]
        options: dict[str, Any] = {"gated": gated}
        if self.hidden:
            options |= architecture.options(self.hidden)
        if self.sections:
            options["sections"] = self.sections
        if gated and architecture.has_sections:
            options["gates"] = self.gates
        if gated and architecture.gate_option is not None:
            options[architecture.gate_option] = getattr(self, architecture.gate_option)
        return options


KINDS: dict[str, Kind] = {f.name: f.metadata["kind"] for f in fields(Settings)}
"""What each setting may be."""

MEANINGS: dict[str, str] = {f.name: f.metadata["meaning"] for f in fields(Settings)}
"""What each setting is."""

READERS: dict[str, tuple[str, ...]] = {
    f.name: f.metadata["methods"] for f in fields(Settings) if f.metadata["methods"]
}
"""The methods that read a setting, for the settings that not all of them read."""

OF_SURVIVORS = ("survivor_epochs", "input_noise", "worst_case")
"""Settings that decide nothing until all ``epochs`` are over; without them a run ends there."""

_RETIRED = {"schedule": "cosine", "budget": None}
"""Settings that there are no more, and the value that every recorded run has."""


def _described() -> str:
    """The settings as a docstring lists them."""
    lines = ["", "    Attributes:"]
    for name, meaning in MEANINGS.items():
        readers = f", for {', '.join(READERS[name])}" if name in READERS else ""
        lines.append(f"        {name}: {meaning} ({KINDS[name].expected}{readers}).")
    return "\n".join([*lines, ""])


Settings.__doc__ = (Settings.__doc__ or "").replace("\n    Raises", _described() + "\n    Raises")


def reads(method: str) -> frozenset[str]:
    """Names of the settings that only some methods read, and this one does."""
    return frozenset(name for name, methods in READERS.items() if method in methods)


def is_gated(method: str) -> bool:
    """Whether a method trains a model with gates."""
    return method in _GATED


def read(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that TOML or JSON gives, with the types that :class:`Settings` has.

    Numbers may be text, such as "1/650"; one number stands for a list of one.

    Raises:
        ValueError: naming a setting that is unknown or of another type.
    """
    _know(values)
    found: dict[str, Any] = {}
    for name, value in values.items():
        try:
            found[name] = KINDS[name].read(value)
        except ValueError as error:
            raise ValueError(f"{name} is {value!r}; expected {error}") from error
    return found


def _know(names: Iterable[str]) -> None:
    if unknown := set(names) - set(KINDS):
        raise ValueError(f"unknown settings {sorted(unknown)}")


def recommended(model: str, method: str = "bernoulli", **changes: Any) -> Settings:
    """The settings that are recommended for a model and a method.

    Args:
        model: a name in :data:`pruning_core.models.MODELS`.
        method: a name in :data:`METHOD_NAMES`.
        changes: attributes of :class:`Settings` that are to differ from it.

    Raises:
        ValueError: for an unknown name or a value out of range.
    """
    _know(changes)
    base = Settings(model=model, method=method)
    for name, value in changes.items():
        KINDS[name].check(name, value)
        if method not in READERS.get(name, METHOD_NAMES):
            readers = ", ".join(READERS[name])
            raise ValueError(f"{name} does not apply to the method {method}; it is for {readers}")
    base = replace(base, **BY_METHOD.get(method, {}))
    base = replace(base, **BY_MODEL_AND_METHOD.get((model, method), {}))
    if model == "lenet-5" and (model, method) not in BY_MODEL_AND_METHOD:
        changes.setdefault("epochs", LENET_5_EPOCHS)
    # The parts of a run keep their shares of it.
    if "epochs" in changes:
        share = changes["epochs"] / base.epochs
        if method in READERS["bernoulli_epochs"]:
            changes.setdefault("bernoulli_epochs", max(1, round(base.bernoulli_epochs * share)))
        else:
            changes.setdefault("ramp_epochs", base.ramp_epochs * share)
        changes.setdefault("fine_tune_epochs", round(base.fine_tune_epochs * share))
    if "bernoulli_epochs" in changes:
        share = changes["bernoulli_epochs"] / base.bernoulli_epochs
        changes.setdefault("ramp_epochs", base.ramp_epochs * share)
    return replace(base, **changes)
