"""Tests of pruning_core.experiments.settings: ranges, recommendations, and who reads what."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.methods import METHODS
from pruning_core.experiments.methods.structured import Structured
from pruning_core.experiments.run import plain
from pruning_core.experiments.settings import (
    KINDS,
    METHOD_NAMES,
    READERS,
    Settings,
    is_gated,
    read,
    reads,
    recommended,
)
from pruning_core.models import MODELS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vgg"}, "unknown model 'vgg'; expected one of lenet-300-100, lenet-5"),
        ({"method": "magic"}, "unknown method 'magic'; expected one of bernoulli, dense, halo, l1"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'; expected one of adam, sgd"),
        ({"estimator": "arm"}, "unknown estimator 'arm'; expected one of integrated"),
        ({"epochs": 0, "bernoulli_epochs": 0}, "epochs is 0; expected a whole number from 1 to"),
        ({"batch_size": 0}, "batch_size is 0; expected a whole number from 1 to"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected a finite number above 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; expected a finite λ ≥ 0"),
        ({"weight_decay": math.nan}, "weight_decay is nan"),
        ({"log_gamma": (0.0,)}, r"log_gamma is \(0.0,\); expected .* \(γ > 1\)"),
        ({"log_gamma": (3.0, -1.0)}, "log_gamma is"),
        ({"log_gamma": ()}, "log_gamma is"),
        ({"log_gamma": (math.nan,)}, "log_gamma is"),
        ({"theta": 1.1}, "theta is 1.1; expected a probability"),
        ({"theta_step": 0.0}, r"theta_step is 0.0; expected a number in \(0, 1\]"),
        ({"smoothing": 1.0}, r"smoothing is 1.0; expected a number in \[0, 1\)"),
        ({"epochs": 9, "bernoulli_epochs": 10}, "bernoulli_epochs is 10; expected 1 to epochs"),
        ({"bernoulli_epochs": 0}, "bernoulli_epochs is 0"),
        ({"ramp_epochs": -1.0}, "ramp_epochs is -1.0; expected a finite number ≥ 0"),
        ({"ramp_epochs": 500.0}, "ramp_epochs is 500.0; expected 0 to bernoulli_epochs"),
        (
            {"method": "l1", "epochs": 5, "ramp_epochs": 5.0},
            "ramp_epochs is 5.0; expected 0 to epochs, without it",
        ),
        ({"xi": 0.0}, "xi is 0.0; expected a finite number above 0"),
        ({"psi": -1.0}, "psi is -1.0; expected a finite number above 0"),
        ({"xi": 1e31}, r"xi is 1e\+31; expected a finite number above 0, at most 1e\+30"),
        ({"hidden": (300,)}, r"hidden is \(300,\); expected 2 sizes for lenet-300-100"),
        ({"hidden": (200_000, 10)}, r"hidden is .*; expected .* whole number from 1 to 65536"),
        ({"batch_size": 10**20}, "batch_size is 1000.*; expected a whole number from 1 to"),
        ({"hyper_prior": "fixed", "log_gamma": (710.0,)}, "log_gamma is 710.0; at most 709 nats"),
        ({"hyper_prior": "beta", "log_gamma": (1e3,)}, "log_gamma is 1000.0; at most 709 nats"),
        ({"initial_coefficient": 0.0}, "initial_coefficient is 0.0; expected a finite number"),
        ({"strength": math.inf}, "strength is inf; expected a finite number ≥ 0"),
        ({"zeros_percent": 100.0}, r"zeros_percent is 100.0; expected a share .* \[0, 100\)"),
        ({"fine_tune_epochs": 91}, "fine_tune_epochs is 91; expected 0 to epochs"),
        ({"model": "lenet-5", "gate_inputs": True}, "gate_inputs needs a fully connected model"),
        ({"gate_features": True}, "gate_features is for the features of lenet-5"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**changes)


def test_the_recommended_settings_are_the_defaults_and_scale_with_the_epochs() -> None:
    assert recommended("lenet-300-100") == Settings()
    half = recommended("lenet-300-100", epochs=Settings().epochs // 2)
    assert half.bernoulli_epochs == pytest.approx(Settings().bernoulli_epochs / 2, abs=1)
    assert recommended("lenet-5").model == "lenet-5"
    assert recommended("lenet-5", epochs=1).bernoulli_epochs == 1
    assert recommended("lenet-5", epochs=10, bernoulli_epochs=2).bernoulli_epochs == 2
    for model in MODELS:
        for method in METHODS:
            assert recommended(model, method, epochs=1).method == method
    short = recommended("lenet-5", "sparse-vd", epochs=2)
    whole = recommended("lenet-5", "sparse-vd")
    assert short.ramp_epochs / 2 == pytest.approx(whole.ramp_epochs / whole.epochs)
    message = "log_gamma does not apply to the method dense; it is for bernoulli"
    with pytest.raises(ValueError, match=message):
        recommended("lenet-5", "dense", log_gamma=(3.0,))
    with pytest.raises(ValueError, match=r"unknown settings \['lr'\]"):
        recommended("lenet-5", lr=1)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("proximal", "no", "true or false"),
        ("epochs", 3.5, "a whole number from 1"),
        ("epochs", True, "a whole number from 1"),
        ("epochs", "3", "a whole number from 1"),
        ("hidden", [30.0, 10.0], "values that are each a whole number"),
        ("xi", "1/0", "a finite number above 0, at most 1e+30, or a fraction such as '1/650'"),
        ("xi", True, "a finite number above 0"),
        ("xi", [1e-5], "a finite number above 0"),
        ("log_gamma", ["a"], "values that are each a finite number above 0 nats"),
        ("log_gamma", {"a": 1}, "values that are each a finite number above 0 nats"),
        ("theta", None, "a probability in [0, 1]"),
    ],
)
def test_a_value_of_another_type_is_named_with_what_was_expected(
    name: str, value: Any, expected: str
) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        read({name: value})
    assert f"{name} is {value!r}; expected {expected}" in str(error.value)


def test_numbers_may_be_fractions_or_whole_and_one_stands_for_several() -> None:
    found = read({"theta_step": "1/650", "ramp_epochs": 2, "log_gamma": 20, "hidden": [5, 3]})
    assert found == {
        "theta_step": 1 / 650,
        "ramp_epochs": 2.0,
        "log_gamma": (20.0,),
        "hidden": (5, 3),
    }
    assert type(found["ramp_epochs"]) is type(found["log_gamma"][0]) is float
    with pytest.raises(ValueError, match=r"unknown settings \['lr'\]"):
        read({"lr": 1})


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("model", MODELS)
def test_settings_come_back_from_json(model: str, method: str) -> None:
    settings = recommended(model, method, epochs=7, hidden=MODELS[model].hidden)
    values = json.loads(json.dumps(plain(settings)))
    assert Settings.from_json(values) == settings
    # A record of before two settings were given up.
    assert Settings.from_json(values | {"schedule": "cosine", "budget": None}) == settings
    with pytest.raises(ValueError, match="unknown settings"):
        Settings.from_json(values | {"schedule": "step"})


def test_every_setting_is_described() -> None:
    described = (Settings.__doc__ or "").partition("Attributes:")[2].partition("Raises:")[0]
    names = [line.split(":")[0].strip() for line in described.strip().splitlines()]
    assert names == list(KINDS)
    assert "epochs during which θ moves" in described


def test_the_methods_have_their_names() -> None:
    assert tuple(METHODS) == METHOD_NAMES
    assert {name for names in READERS.values() for name in names} == {*METHOD_NAMES} - {"dense"}


class Noting(Settings):
    """Notes which of them are read."""

    noted: set[str]

    def __getattribute__(self, name: str) -> Any:
        noted = super().__getattribute__("__dict__").get("noted")
        if noted is not None and name in KINDS:
            noted.add(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_method_reads_what_is_declared_and_nothing_else(
    method: str, small_mnist: Dataset
) -> None:
    few = replace(
        small_mnist,
        train_images=small_mnist.train_images[:60],
        train_labels=small_mnist.train_labels[:60],
        eval_images=small_mnist.eval_images[:20],
        eval_labels=small_mnist.eval_labels[:20],
    )
    noted: set[str] = set()
    models = {"lenet-300-100": (9, 5), "lenet-5": (3, 4, 5), "residual-perceptron": (6, 4)}
    if issubclass(METHODS[method], Structured):
        del models["residual-perceptron"]  # whose layers are no chain
    for model, sizes in models.items():
        usual = recommended(model, method, epochs=2, batch_size=30, hidden=sizes)
        settings = Noting(**{name: getattr(usual, name) for name in KINDS})
        settings.__dict__["noted"] = noted
        Trainer(settings, few).fit()
    assert noted & set(READERS) == reads(method)
    assert is_gated(method) == ("gate_inputs" in noted)
