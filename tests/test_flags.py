"""Tests of pruning_core.experiments.flags: any settings, as the command that trains them."""

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.cli import _parser
from pruning_core.experiments.flags import add_flags, from_flags
from pruning_core.experiments.kinds import Choice, Kind, Number, Several, Switch, Whole
from pruning_core.experiments.run import plain
from pruning_core.experiments.settings import (
    KINDS,
    MEANINGS,
    METHOD_NAMES,
    READERS,
    Settings,
    recommended,
)
from pruning_core.models import MODELS
from pruning_core.studies import ROOT
from pruning_core.studies.declaration import Run

PHASES = ("epochs", "bernoulli_epochs", "fine_tune_epochs", "ramp_epochs")


def values(kind: Kind) -> st.SearchStrategy[Any]:
    """Of a kind, all of them."""
    if isinstance(kind, Whole):
        return st.integers(kind.low, kind.high)
    if isinstance(kind, Number):
        return st.floats(kind.low, kind.high).filter(kind.holds)
    if isinstance(kind, Choice):
        return st.sampled_from(list(kind.names))
    if isinstance(kind, Several):
        return st.lists(values(kind.each), min_size=1, max_size=4).map(tuple)
    assert isinstance(kind, Switch)
    return st.booleans()


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    """Valid ones, that differ from the recommended in some that the method reads."""
    model, method = draw(st.sampled_from(list(MODELS))), draw(st.sampled_from(METHOD_NAMES))
    epochs = draw(st.none() | st.integers(1, 500))
    settings = recommended(model, method, **({} if epochs is None else {"epochs": epochs}))
    epochs = settings.epochs
    changes: dict[str, Any] = {
        "bernoulli_epochs": draw(st.integers(1, epochs)),
        "fine_tune_epochs": draw(st.integers(0, epochs)),
        "hidden": tuple(draw(st.integers(1, 2**16)) for _ in MODELS[model].hidden),
    }
    for name, kind in KINDS.items():
        if name not in ("model", "method", *PHASES, *changes):
            changes[name] = draw(values(kind))
    if changes["hyper_prior"] != "flattening":
        changes["log_gamma"] = tuple(min(x, 700.0) for x in changes["log_gamma"])
    changes |= {
        name: False for name in {"gate_inputs", "gate_features"} - {MODELS[model].gate_option}
    }
    if not MODELS[model].sections:
        changes["sections"] = 0
    if not MODELS[model].has_sections:
        changes["gates"] = "layers"
    chosen = draw(st.sets(st.sampled_from(sorted(changes))))
    if "hyper_prior" in chosen:
        chosen.add("log_gamma")
    if chosen & {"input_noise", "worst_case"} and not changes["survivor_epochs"]:
        chosen -= {"input_noise", "worst_case"}
    elif chosen & {"input_noise", "worst_case"}:
        chosen.add("survivor_epochs")
    read = {n: changes[n] for n in chosen if method in READERS.get(n, METHOD_NAMES)}
    if method in READERS["ramp_epochs"]:
        longest = epochs
        if method == "bernoulli":
            longest = read.get("bernoulli_epochs", settings.bernoulli_epochs)
        if draw(st.booleans()) or settings.ramp_epochs >= longest:
            read["ramp_epochs"] = longest * draw(st.floats(0, 0.99))
    return replace(settings, **read)


@given(
    any_settings(),
    st.sampled_from(["mnist", "kmnist", "/a folder/it's", "/data/ü"]),
    st.sampled_from(["test", "validation"]),
)
def test_any_settings_come_back_from_their_command_and_from_json(
    settings: Settings, dataset: str, split: str
) -> None:
    run = Run("", settings, dataset, split)
    program, *words = shlex.split(run.command)
    assert program == "pruning-core"
    options = _parser().parse_args(words)
    assert from_flags(options) == settings
    assert options.split == split
    assert dataset in (str(options.data), options.dataset or "mnist")
    again = replace(run, settings=Settings.from_json(json.loads(json.dumps(plain(settings)))))
    assert again.settings == settings
    assert again.key == run.key


def test_a_phase_that_changes_moves_what_is_recommended_for_the_next() -> None:
    """ramp_epochs is 1, as is recommended; but not for 30 of 42 epochs."""
    settings = replace(recommended("lenet-5"), bernoulli_epochs=30)
    command = Run("", settings).command
    assert "--bernoulli-epochs 30 --ramp-epochs 1.0 --seed 0" in command
    assert from_flags(_parser().parse_args(shlex.split(command)[1:])) == settings


def test_what_the_method_does_not_read_is_not_told() -> None:
    run = Run("", replace(recommended("lenet-5", "halo"), log_gamma=(3.0,)))
    assert run.command == "pruning-core train lenet-5 --method halo --seed 0"


def test_a_price_keeps_all_its_digits() -> None:
    run = Run("", recommended("lenet-300-100", log_gamma=(28.1234567, 20.0)))
    assert "--log-gamma 28.1234567,20 " in run.command


def test_every_setting_has_a_flag_and_its_help() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    for name in KINDS:
        if name not in ("model", "method"):
            assert f"--{name.replace('_', '-')}" in text
            assert MEANINGS[name].split(";")[0].split(" (")[0][:30] in text
    assert Path(parser.prog).name
    assert "(halo, sws)" in text


@pytest.mark.slow
def test_every_recorded_command_is_still_that_of_its_run() -> None:
    for name in ROOT.names():
        commands = {run.key: run.command for run in ROOT.study(name).runs}
        recorded = ROOT.table(name)
        for key, command in zip(recorded["run"], recorded["command"], strict=True):
            assert command == commands[key]
