"""Tests of pruning_core.residual: networks whose sections may leave, and runs of them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pruning_core.compaction import compact_
from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.methods import METHODS
from pruning_core.experiments.methods.bernoulli import Bernoulli
from pruning_core.experiments.methods.structured import Structured
from pruning_core.experiments.run import Run as TrainingRun
from pruning_core.experiments.runs import train
from pruning_core.experiments.settings import Settings, recommended
from pruning_core.export import export, load_model, save_model
from pruning_core.gates import named_gates
from pruning_core.metrics import count_macs, count_weights, error_percent
from pruning_core.models import MODELS, build_model
from pruning_core.resizing import ModelFileError
from pruning_core.studies.cost import costs
from pruning_core.studies.declaration import Run
from pruning_core.studies.records import as_tables, measures, multiply_accumulates

DEEP = [name for name, known in MODELS.items() if known.has_sections]
SMALL: dict[str, tuple[int, ...]] = {
    "residual-perceptron": (12, 8),
    "residual-cnn": (4, 3),
    "lenet-5-skip": (3, 4, 9),
}
GATES = {
    "residual-perceptron": {"layers": 4, "units": 4, "both": 8},
    "residual-cnn": {"layers": 4, "units": 4, "both": 8},
    "lenet-5-skip": {"layers": 2, "units": 3, "both": 5},
}
IMAGES = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def small(name: str, **options: Any) -> nn.Sequential:
    known = MODELS[name]
    sections = {"sections": 4} if known.sections else {}
    return build_model(name, **known.options(SMALL[name]), **sections, **options)


@pytest.mark.parametrize("gates", ["layers", "units", "both"])
@pytest.mark.parametrize("name", DEEP)
def test_gates_stand_where_they_are_asked_for(name: str, gates: str) -> None:
    torch.manual_seed(0)
    model = small(name, gates=gates)
    assert len(named_gates(model)) == GATES[name][gates]
    kinds = {gate.may_close for gate in named_gates(model).values()}
    assert kinds == {"layers": {True}, "units": {False}, "both": {True, False}}[gates]
    torch.manual_seed(0)
    plain = small(name, gated=False)
    names = [n for n, _ in plain.named_parameters()]
    torch.manual_seed(0)
    open_ = small(name, gates=gates, theta=1.0).eval()
    if gates == "layers":
        assert [n for n, _ in open_.named_parameters()] == names
    torch.testing.assert_close(open_(IMAGES), plain(IMAGES), rtol=0, atol=0)


@pytest.mark.parametrize("name", DEEP)
def test_what_is_left_is_counted_as_in_the_network(name: str) -> None:
    """Sections and units leave at random; sizes, weights and multiply-accumulates follow."""
    torch.manual_seed(0)
    known, sections = MODELS[name], 4
    model = small(name, gates="both").double()
    x = IMAGES.double()
    dead = {n: torch.rand(g.num_units) < 0.4 for n, g in named_gates(model).items()}
    of_sections = [n for n, g in named_gates(model).items() if g.may_close]
    dead[of_sections[0]], dead[of_sections[-1]] = torch.tensor([False]), torch.tensor([True])
    for gate_name, gate in named_gates(model).items():
        if not gate.may_close:
            dead[gate_name][0] = False
        gate.theta.data.copy_(~dead[gate_name])
    closed = [n for n in of_sections if bool(dead[n])]
    expected = model.eval()(x)
    compact_(model, dead, x)
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-12)
    units = known.read(model, sections)
    assert known.depth(units) == len(of_sections) - len(closed) > 0
    assert known.count_weights(units) == count_weights(model)
    assert known.count_macs(units) == count_macs(model, x[:1])
    assert multiply_accumulates(units, name) == count_macs(model, x[:1])
    assert known.read(export(model), sections) == units
    torch.testing.assert_close(export(model)(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", DEEP)
def test_a_network_without_any_section_is_a_smaller_one(name: str) -> None:
    torch.manual_seed(0)
    model = small(name).double().eval()
    x = IMAGES.double()
    compact_(model, {n: torch.tensor([True]) for n in named_gates(model)}, x)
    plain = export(model)
    torch.testing.assert_close(plain(x), model(x), rtol=1e-12, atol=1e-12)
    if name == "residual-perceptron":
        assert count_weights(plain) == 784 * 10  # merged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sections": 0}, "sections is 0; 1 to 1000 was expected"),
        ({"sections": 1001}, "sections is 1001"),
        ({"gates": "all"}, "gates is 'all'; one of layers, units, both was expected"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("residual-perceptron", **options)


# --- runs of them


@pytest.fixture
def few(small_mnist: Dataset) -> Dataset:
    return replace(
        small_mnist,
        train_images=small_mnist.train_images[:400],
        train_labels=small_mnist.train_labels[:400],
        eval_images=small_mnist.eval_images[:200],
        eval_labels=small_mnist.eval_labels[:200],
    )


def quick(name: str, **changes: Any) -> Settings:
    """Closes some sections within a few steps, whatever they are worth."""
    sections = {"sections": 4} if MODELS[name].sections else {}
    return recommended(
        name,
        hidden=SMALL[name],
        epochs=4,
        bernoulli_epochs=2,
        ramp_epochs=0.0,
        batch_size=20,
        theta_step=0.05,
        smoothing=0.5,
        log_gamma=(60.0, 90.0),
        **sections,
        **changes,
    )


def one(left: Any) -> Mapping[str, Any]:
    return {
        key: value for key, value in left.items() if key not in ("seconds", "seconds_per_epoch")
    }


class Stop(Callback):
    def on_epoch_end(self, run: TrainingRun) -> None:
        if run.epoch == self.after:
            raise KeyboardInterrupt

    def __init__(self, after: int) -> None:
        self.after = after


@pytest.mark.filterwarnings("ignore:the last units of gate")
@pytest.mark.parametrize("gates", ["layers", "both"])
@pytest.mark.parametrize("name", DEEP)
def test_a_run_goes_on_to_the_bit_after_sections_have_left(
    name: str, gates: str, few: Dataset, tmp_path: Path
) -> None:
    settings = quick(name, gates=gates)
    whole = train(settings, few, tmp_path / "whole")
    for after in (1, 3):  # while sections leave, and when the gates are out
        folder = tmp_path / f"stopped-{after}"
        with pytest.raises(KeyboardInterrupt):
            train(settings, few, folder, callbacks=[Stop(after + 1)])
        resumed = train(settings, few, folder, resume=True)
        assert one(resumed) == one(whole)
        loaded, expected = load_model(folder), load_model(tmp_path / "whole")
        torch.testing.assert_close(loaded.state_dict(), expected.state_dict(), rtol=0, atol=0)
    known = MODELS[name]
    assert known.depth(whole["architecture"]) < known.depth(whole["architecture_dense"])
    error = error_percent(load_model(tmp_path / "whole"), few.eval_images, few.eval_labels)
    assert error == pytest.approx(whole["test_error_percent"])


@pytest.mark.parametrize(
    "options",
    [
        {"sections": 10**5},
        {"sections": 0},
        {"sections": 3},
        {"gates": "all"},
        {"gates": 1},
        {"gates": "units", "width": 10**9},
    ],
)
def test_files_of_a_stranger_are_refused_in_one_line(
    options: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = small("residual-perceptron").eval()
    compact_(model, {"sections.1.gate": torch.tensor([True])}, IMAGES)
    for gate in named_gates(model).values():
        gate.theta.data.fill_(1.0)
    honest = {"sections": 4, "width": 12, "inner": 8}
    save_model(export(model), tmp_path, name="residual-perceptron", **honest)
    torch.testing.assert_close(load_model(tmp_path)(IMAGES), model(IMAGES))
    path = tmp_path / "model.json"
    description = json.loads(path.read_text())
    description["options"] |= options
    path.write_text(json.dumps(description))
    with pytest.raises(ModelFileError) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_compiled_network_loses_its_sections() -> None:
    torch.manual_seed(0)
    model = small("residual-perceptron")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert isinstance(compiled, nn.Module)
    compiled(IMAGES).sum().backward()
    compact_(compiled, {"sections.1.gate": torch.tensor([True])}, IMAGES)
    compiled(IMAGES).sum().backward()
    assert "sections.1.gate" not in named_gates(model)
    torch.testing.assert_close(compiled.eval()(IMAGES), model.eval()(IMAGES))


def test_what_is_recorded_tells_the_depth(few: Dataset, tmp_path: Path) -> None:
    settings = quick("residual-perceptron", gates="both")
    summary = train(settings, few, tmp_path)
    trajectory = json.loads((tmp_path / "trajectory.json").read_text())
    rows, epochs = as_tables(Run("deep", settings, split="test"), summary, trajectory)
    (row,) = measures(rows).to_dict("records")
    sizes = list(map(int, row["architecture"].split("-")))
    assert len(sizes) == 6
    assert row["sections_left"] == sum(size > 0 for size in sizes[2:]) < 4
    assert row["training_macs_percent"] < 100
    spent = costs("residual-perceptron", list(epochs["architecture"]))
    assert len(spent) == 5


def test_prices_are_of_units_and_of_sections(few: Dataset) -> None:
    trainer = Trainer(quick("residual-perceptron", gates="both"), few)
    method = trainer.method
    assert isinstance(method, Bernoulli)
    assert method.pruner is not None
    prices = {group["name"]: group["price"] for group in method.pruner.param_groups}
    assert {price for name, price in prices.items() if name.endswith(".gate")} == {90.0}
    assert {price for name, price in prices.items() if not name.endswith(".gate")} == {60.0}
    with pytest.raises(ValueError, match="log_gamma has 3 values; one, or two, of units and of"):
        Trainer(replace(quick("residual-cnn"), log_gamma=(1.0, 2.0, 3.0)), few)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("lenet-5", {"sections": 3}, "sections is for residual-perceptron and residual-cnn, not"),
        ("lenet-5-skip", {"sections": 3}, "sections is for residual-perceptron and residual-cnn"),
        ("lenet-300-100", {"gates": "both"}, "gates is for models whose sections may leave, not"),
        ("residual-cnn", {"gate_inputs": True}, "gate_inputs needs a fully connected model"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_named(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        recommended(name, **changes)


@pytest.mark.parametrize("method", [m for m in METHODS if issubclass(METHODS[m], Structured)])
def test_methods_for_chains_of_layers_refuse_them(method: str, few: Dataset) -> None:
    with pytest.raises(ValueError, match=f"{method} is for networks whose layers follow each"):
        Trainer(recommended("residual-cnn", method), few)


def test_settings_of_before_keep_their_hash() -> None:
    """What is new is at its default in every recorded run."""
    for model in ("lenet-300-100", "lenet-5"):
        settings = recommended(model)
        assert (settings.sections, settings.gates) == (0, "layers")
