"""Tests of pruning_core.experiments.loop and methods: resume to the bit, and what can go wrong."""

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.checkpoint import CHECKPOINT_FILE
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.methods import METHODS
from pruning_core.experiments.methods.penalised import Shrinking
from pruning_core.experiments.methods.structured import Structured
from pruning_core.experiments.run import Run as TrainingRun
from pruning_core.experiments.run import TrainingError
from pruning_core.experiments.runs import SUMMARY_FILE, TRAJECTORY_FILE, train
from pruning_core.experiments.settings import Settings, is_gated, recommended
from pruning_core.export import DESCRIPTION_FILE, WEIGHTS_FILE, load_model
from pruning_core.gates import named_gates
from pruning_core.metrics import architecture, error_percent, weighted_layers
from pruning_core.models import MODELS
from pruning_core.sparsity import TOLERANCE, ZEROS_PERCENT

LEAST = torch.finfo(torch.float32).tiny  # of normal numbers
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

# 250 steps an epoch: units leave from the second or third epoch on, and θ is settled after four.
QUICK = Settings(
    epochs=6,
    batch_size=4,
    log_gamma=(2.0,),
    gate_inputs=True,
    theta_step=1 / 60,
    smoothing=0.9,
    bernoulli_epochs=4,
)
VARIANTS = {
    "bernoulli": QUICK,
    "batches that grow": replace(QUICK, batch_growth=4),
    "nothing removed before the end": replace(QUICK, compact=False),
    "no deterministic epochs": replace(QUICK, epochs=4),
    "dense, with weight decay": replace(QUICK, method="dense", epochs=3, bernoulli_epochs=1,
                                        weight_decay=2.0),
    "HALO": replace(QUICK, method="halo", epochs=3, bernoulli_epochs=1, optimizer="sgd",
                    learning_rate=0.02, xi=1e-4, psi=1e-3),
    "bridge": replace(QUICK, method="bridge", epochs=2, bernoulli_epochs=1, strength=1e-4),
    "HALO, λ every third step": replace(QUICK, method="halo", epochs=3, bernoulli_epochs=1,
                                        optimizer="sgd", learning_rate=0.02, xi=1e-4, psi=1e-3,
                                        coefficient_interval=3),
    "HALO, proximal steps": replace(QUICK, method="halo", epochs=3, bernoulli_epochs=1,
                                    optimizer="sgd", learning_rate=0.02, xi=1e-3, psi=1e-2,
                                    proximal=True),
    "HALO, warmed up": replace(QUICK, method="halo", epochs=3, bernoulli_epochs=1,
                                             optimizer="sgd", learning_rate=0.02, xi=1e-4,
                                             psi=1e-2, initial_coefficient=0.5,
                                             ramp_epochs=1.0),
    "iterative magnitude": replace(QUICK, method="iterative-magnitude", epochs=3,
                                   zeros_percent=90.0, bernoulli_epochs=1, fine_tune_epochs=3),
    "SWS": replace(QUICK, method="sws", epochs=2, bernoulli_epochs=1, optimizer="sgd",
                   learning_rate=0.02, xi=1e-4, psi=1.0, ramp_epochs=1.0),
    "group lasso": replace(QUICK, method="group-lasso", epochs=4, bernoulli_epochs=1,
                           optimizer="sgd", learning_rate=0.02, strength=5e-4,
                           fine_tune_epochs=2),
    "L0": replace(QUICK, method="l0", epochs=4, bernoulli_epochs=1, learning_rate=0.02,
                  strength=3e-6, fine_tune_epochs=1),
    "L0 of LeNet-5, to the last step": replace(
        QUICK, method="l0", model="lenet-5", gate_inputs=False, gate_features=True, batch_size=20,
        epochs=2, bernoulli_epochs=1, learning_rate=0.05, strength=3e-7, theta=0.6),
    "sparse variational dropout": replace(QUICK, method="sparse-vd", epochs=3, bernoulli_epochs=1,
                                          strength=1e-5, ramp_epochs=0.5, batch_size=20),
    "VIBNet": replace(QUICK, method="vib", epochs=4, bernoulli_epochs=1, learning_rate=0.02,
                      strength=1e-3, fine_tune_epochs=1),
    "SNIP": replace(QUICK, method="snip", epochs=2, bernoulli_epochs=1, zeros_percent=80.0),
    "a price that rises": replace(QUICK, ramp_epochs=2.5, epochs=4, bernoulli_epochs=4),
    "a price for each gate": replace(QUICK, log_gamma=(1.0, 4.0, 8.0)),
    "REINFORCE": replace(QUICK, estimator="reinforce", epochs=3, bernoulli_epochs=2),
    "other sizes, weights and hyper-prior": replace(
        QUICK, hidden=(60, 20), initialisation="orthogonal", initial_scale=2.0, hyper_prior="beta"),
    "LeNet-5": replace(
        QUICK, model="lenet-5", gate_inputs=False, gate_features=True, batch_size=20,
        epochs=3, bernoulli_epochs=2,
    ),
}  # fmt: skip
QUICKLY = {"bernoulli"}  # the others are slow


def some_slow(*names: str) -> list[Any]:
    """Names of variants as parameters, of which only those above are quick."""
    return [n if n in QUICKLY else pytest.param(n, marks=pytest.mark.slow) for n in names]


EVERY = some_slow(*VARIANTS)


class KeepEveryCheckpoint(Callback):
    """Copies of the checkpoint as it was at the end of every epoch but the last."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def on_epoch_end(self, run: TrainingRun) -> None:
        written = self.directory / CHECKPOINT_FILE  # of the epoch before
        if written.exists():
            shutil.copy(written, self.directory / f"after-{run.epoch - 1}.pt")


class Run:
    """A finished run and its files."""

    def __init__(self, settings: Settings, dataset: Dataset, directory: Path) -> None:
        self.settings, self.dataset, self.directory = settings, dataset, directory
        self.summary = train(
            settings, dataset, directory, callbacks=[KeepEveryCheckpoint(directory)]
        )
        self.trajectory = json.loads((directory / TRAJECTORY_FILE).read_text())


@pytest.fixture(scope="module")
def small(small_mnist: Dataset) -> Dataset:
    """1,000 training and 200 test images."""
    return replace(
        small_mnist,
        train_images=small_mnist.train_images[:1000],
        train_labels=small_mnist.train_labels[:1000],
        eval_images=small_mnist.eval_images[:200],
        eval_labels=small_mnist.eval_labels[:200],
    )


class Runs(dict[str, Run]):
    """Every variant, uninterrupted, trained when it is first asked for."""

    def __init__(self, dataset: Dataset, root: Path) -> None:
        self.dataset, self.root = dataset, root

    def __missing__(self, name: str) -> Run:
        self[name] = Run(VARIANTS[name], self.dataset, self.root / str(len(self)))
        return self[name]


@pytest.fixture(scope="module")
def runs(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(small, tmp_path_factory.mktemp("runs"))


def timeless(value: Any) -> Any:
    """Without how long things took."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not k.startswith("seconds")}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return value


def assert_same_run(first: Path, second: Path) -> None:
    """Summary, trajectory, exported model and last checkpoint, bit for bit."""
    for name in (SUMMARY_FILE, TRAJECTORY_FILE):
        one, two = (json.loads((d / name).read_text()) for d in (first, second))
        assert timeless(one) == timeless(two)
    assert (first / WEIGHTS_FILE).read_bytes() == (second / WEIGHTS_FILE).read_bytes()
    one, two = (torch.load(d / CHECKPOINT_FILE, weights_only=True) for d in (first, second))
    assert_same_tensors(one, two)


def assert_same_tensors(first: Any, second: Any) -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            if not str(key).startswith("seconds"):
                assert_same_tensors(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, two in zip(first, second, strict=True):
            assert_same_tensors(one, two)
    else:
        assert first == second


# --- resume


def telling_epochs(settings: Settings) -> set[int]:
    """One before the method settles and one after; else the first and the last but one."""
    last = settings.epochs - 1
    is_bernoulli = settings.method == "bernoulli"
    settled = settings.bernoulli_epochs if is_bernoulli else last + 1 - settings.fine_tune_epochs
    if 1 <= settled <= last:
        return {max(settled - 1, 1), min(settled + 1, last)}
    return {1, last}


@pytest.mark.parametrize("name", EVERY)
def test_a_run_resumed_after_a_telling_epoch_ends_the_same_to_the_bit(
    name: str, runs: Runs, tmp_path: Path
) -> None:
    run = runs[name]
    for epoch in telling_epochs(run.settings):
        again = tmp_path / str(epoch)
        again.mkdir()
        shutil.copy(run.directory / f"after-{epoch}.pt", again / CHECKPOINT_FILE)
        torch.manual_seed(99)  # nothing of this process may matter
        train(run.settings, run.dataset, again, resume=True)
        assert_same_run(run.directory, again)


def test_a_finished_run_is_resumed_by_writing_its_results_again(runs: Runs, tmp_path: Path) -> None:
    run = runs["bernoulli"]
    shutil.copy(run.directory / CHECKPOINT_FILE, tmp_path)
    train(run.settings, run.dataset, tmp_path, resume=True)
    assert_same_run(run.directory, tmp_path)


def test_resuming_where_there_is_nothing_starts_afresh(runs: Runs, tmp_path: Path) -> None:
    run = runs["dense, with weight decay"]
    train(run.settings, run.dataset, tmp_path / "new", resume=True)
    assert_same_run(run.directory, tmp_path / "new")


def command(settings: Settings, folder: Path, out: Path, *more: str) -> list[str]:
    flags = {
        "epochs": settings.epochs,
        "bernoulli-epochs": settings.bernoulli_epochs,
        "batch-size": settings.batch_size,
        "log-gamma": settings.log_gamma[0],
        "theta-step": settings.theta_step,
        "data": folder,
        "out": out,
        "device": "cpu",
    }
    given = [f"--{name}={value}" for name, value in flags.items()]
    program = [sys.executable, "-m", "pruning_core", "train", "lenet-300-100"]
    return [*program, "--gate-inputs", *given, *more]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the processes started here: how sums are split over threads shows in the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def kill_when(
    command: list[str], checkpoint: Path, ready: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Start the command and SIGKILL it once its checkpoint is as asked; returns that checkpoint."""
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    seen = 0
    try:
        while process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != seen:
                seen = checkpoint.stat().st_mtime_ns
                state = torch.load(checkpoint, weights_only=True)
                if ready(state):
                    os.kill(process.pid, signal.SIGKILL)
                    assert process.wait() == -signal.SIGKILL
                    return state
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    raise AssertionError(f"the run ended by itself, with {process.returncode}")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_resumes_as_if_nothing_had_happened(
    mnist_folder: Path, small_mnist: Dataset, tmp_path: Path
) -> None:
    """SIGKILL while units leave, and again in the deterministic epochs."""
    settings = recommended(
        "lenet-300-100",
        gate_inputs=True,
        epochs=12,
        bernoulli_epochs=5,
        batch_size=32,
        log_gamma=(3.0,),
        theta_step=0.02,
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(settings, small_mnist, whole)

    def units(state: dict[str, Any]) -> list[int]:
        return state["trajectory"][-1]["architecture"]

    checkpoint = broken / CHECKPOINT_FILE
    start = command(settings, mnist_folder, broken)
    first = kill_when(start, checkpoint, lambda state: units(state) != [784, 300, 100])
    assert first["epoch"] < 5
    assert first["phase"] == "pruning"
    again = [*start, "--resume"]
    second = kill_when(again, checkpoint, lambda state: state["epoch"] >= 6)
    assert 6 <= second["epoch"] < 12
    assert second["phase"] == "settled"
    assert not (broken / SUMMARY_FILE).exists()
    done = subprocess.run(again, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_run(whole, broken)


# --- what a run leaves


def test_two_runs_of_the_same_seed_are_the_same_and_another_seed_is_not(
    small: Dataset, tmp_path: Path
) -> None:
    settings = replace(QUICK, epochs=2, bernoulli_epochs=1, batch_size=20)
    summary = train(settings, small, tmp_path / "one")
    train(settings, small, tmp_path / "same")
    assert_same_run(tmp_path / "one", tmp_path / "same")
    other = train(replace(settings, seed=1), small, tmp_path / "other")
    assert timeless(other) != timeless(summary)


@pytest.mark.parametrize("name", EVERY)
def test_the_summary_is_true_of_the_files(name: str, runs: Runs) -> None:
    run = runs[name]
    summary = json.loads((run.directory / SUMMARY_FILE).read_text())
    assert summary == json.loads(json.dumps(run.summary))
    tensors = load_file(run.directory / WEIGHTS_FILE)
    weights = [t for key, t in tensors.items() if key.endswith("weight")]
    assert summary["weights_kept"] == sum(int(t.count_nonzero()) for t in weights)
    assert summary["architecture"][-1] == weights[-1].shape[1]
    model = load_model(run.directory)
    assert not [m for m in model.modules() if type(m).__module__.startswith("pruning_core")]
    error = error_percent(model, run.dataset.eval_images, run.dataset.eval_labels)
    assert summary["test_error_percent"] == error == run.trajectory[-1]["test_error_percent"]
    errors = [record["test_error_percent"] for record in run.trajectory]
    assert summary["best_test_error_percent"] == min(errors)
    assert [record["epoch"] for record in run.trajectory] == [*range(1, run.settings.epochs + 1)]
    assert summary["epochs"] == run.settings.epochs == len(summary["seconds_per_epoch"])
    dense = {"lenet-300-100": 266_200, "lenet-5": 430_500}[run.settings.model]
    if run.settings.hidden == (60, 20):
        dense = 784 * 60 + 60 * 20 + 20 * 10
    assert summary["weights_total"] == dense
    assert run.settings == Settings.from_json(summary["settings"])


@pytest.mark.parametrize(
    "name", some_slow("HALO", "HALO, proximal steps", "HALO, warmed up", "bridge", "SWS")
)
def test_penalties_end_in_zeros_that_the_saved_model_holds(name: str, runs: Runs) -> None:
    run = runs[name]
    summary = run.summary
    kept = summary["weights_kept"] / summary["weights_total"]
    assert 0 < kept < 0.95
    assert summary["architecture"] == summary["architecture_dense"]
    assert list(summary["sparsity_curve"]) == [f"{zeros:g}" for zeros in ZEROS_PERCENT]
    weights = load_file(run.directory / WEIGHTS_FILE)["fc1.weight"]
    assert float(weights[weights != 0].abs().min()) >= TOLERANCE
    for record in run.trajectory:
        assert record["penalty"] > 0


def test_cut_weights_have_the_share_of_zeros_asked_for(runs: Runs) -> None:
    for name in ("iterative magnitude", "SNIP"):
        summary = runs[name].summary
        zeros = round(summary["settings"]["zeros_percent"] / 100 * summary["weights_total"])
        assert summary["weights_kept"] == summary["weights_total"] - zeros
    kept = [record["weights_kept"] for record in runs["iterative magnitude"].trajectory]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[-1]
    assert len({r["weights_kept"] for r in runs["SNIP"].trajectory}) == 1


def test_noise_drowns_weights_and_they_end_at_zero(runs: Runs) -> None:
    summary = runs["sparse variational dropout"].summary
    kept = summary["weights_kept"] / summary["weights_total"]
    assert 0.01 < kept < 0.6
    assert list(summary["sparsity_curve"]) == [f"{zeros:g}" for zeros in ZEROS_PERCENT]


def test_the_weights_that_end_at_zero_are_those_with_more_noise_than_signal(small: Dataset) -> None:
    trainer = Trainer(recommended("lenet-5", "sparse-vd"), small)
    before = [layer.weight.detach().clone() for layer in weighted_layers(trainer.model)]
    for variance, weight in zip(trainer.auxiliary, before, strict=True):
        # log α = 3 where |w| is the median of its layer; above it where |w| is smaller.
        variance.data.fill_(3 + 2 * math.log(float(weight.abs().median())))
    assert isinstance(trainer.method, Shrinking)
    trainer.method.end_in_zeros_(trainer.model)
    for layer, weight in zip(weighted_layers(trainer.model), before, strict=True):
        expected = weight * (weight.abs() > weight.abs().median())
        close_call = (weight.abs() / weight.abs().median() - 1).abs() < 1e-5
        assert torch.equal(layer.weight[~close_call], expected[~close_call])
    # And the noise is gone.
    images = small.eval_images[:2]
    assert torch.equal(trainer.model.train()(images), trainer.model(images))


@pytest.mark.parametrize("method", ["random", "magnitude", "snip"])
def test_a_cut_of_each_layer_by_a_rounded_share_is_made_once(method: str, small: Dataset) -> None:
    # A third of 235,200, 30,000 and 1,000 weights, rounded in each, is one less than of all.
    settings = replace(
        QUICK, method=method, epochs=4, bernoulli_epochs=1, fine_tune_epochs=4, batch_size=50,
        zeros_percent=33.25, layerwise=True,
    )  # fmt: skip
    trainer = Trainer(settings, small)
    trainer.fit()
    zeros = [round(0.3325 * n) for n in (235_200, 30_000, 1_000)]
    assert sum(zeros) < round(0.3325 * 266_200)
    assert [r["weights_kept"] for r in trainer.trajectory] == [266_200 - sum(zeros)] * 4


@pytest.mark.parametrize("name", some_slow("group lasso", "L0", "L0 of LeNet-5, to the last step"))
def test_structured_methods_end_in_fewer_units_and_multiply_accumulates(
    name: str, runs: Runs
) -> None:
    summary = runs[name].summary
    before, after = summary["architecture_dense"], summary["architecture"]
    assert all(1 <= a <= b for a, b in zip(after, before, strict=True))
    assert 0 < summary["units_removed"] == sum(before) - sum(after)
    assert summary["macs"] < summary["macs_dense"]
    settled = runs[name].settings.epochs - max(1, runs[name].settings.fine_tune_epochs)
    architectures = [record["architecture"] for record in runs[name].trajectory]
    assert architectures[:settled] == [before] * settled
    assert architectures[settled:] == [after] * (len(architectures) - settled)


class SettleEarly(Callback):
    """Lets a structured method remove its units between two epochs, and compares."""

    def on_epoch_end(self, run: TrainingRun) -> None:
        assert isinstance(run, Trainer)
        if run.epoch != run.settings.epochs - run.settings.fine_tune_epochs:
            return
        images = run.dataset.eval_images
        run.model.eval()
        with torch.no_grad():
            before = run.model(images)
            run.method.before_epoch(run)
            after = run.model.eval()(images)
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
        self.removed = run.findings["units_removed"]


@pytest.mark.parametrize("name", some_slow("group lasso", "L0"))
def test_the_network_without_its_dead_units_computes_what_it_did(name: str, small: Dataset) -> None:
    compare = SettleEarly()
    Trainer(VARIANTS[name], small, [compare]).fit()
    assert compare.removed > 100


def test_units_leave_while_it_trains_and_none_come_back(runs: Runs) -> None:
    sizes = [sum(r["architecture"]) for r in runs["bernoulli"].trajectory]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] < sum([784, 300, 100])  # before θ is rounded
    assert sizes[-1] == sizes[-2]  # and none in the deterministic epochs
    sizes = [r["architecture"] for r in runs["nothing removed before the end"].trajectory]
    assert sizes[:4] == [[784, 300, 100]] * 4
    assert sum(sizes[4]) < 1184


def test_compaction_changes_the_run_only_from_the_first_removal_on(runs: Runs) -> None:
    """Up to there both draw the same numbers."""
    on, off = (
        copy.deepcopy(runs[name].trajectory)
        for name in ("bernoulli", "nothing removed before the end")
    )
    first = next(i for i, r in enumerate(on) if r["architecture"] != [784, 300, 100])
    assert first >= 1
    for record in off:
        for gate in record.get("theta", {}).values():
            del gate["declared"], gate["opened"]
    assert timeless(on[:first]) == timeless(off[:first])


def test_the_trajectory_describes_theta_while_it_moves(runs: Runs) -> None:
    run = runs["bernoulli"]
    for record in run.trajectory[:4]:
        assert math.isfinite(record["loss"])
        for gate, units in zip(record["theta"].values(), record["architecture"], strict=True):
            assert gate["units"] == units == sum(gate["histogram"])
            assert 0 <= gate["mean"] <= 1
        assert set(record["undecided"]) == {"gate0", "gate1", "gate2"}
        price = sum(gate["units"] * gate["mean"] for gate in record["theta"].values()) * 2 / 1000
        assert record["penalty"] == pytest.approx(price, rel=1e-5)
    assert all("theta" not in record for record in run.trajectory[4:])


def test_findings_are_those_of_the_end_of_the_bernoulli_phase(runs: Runs) -> None:
    for name in ("bernoulli", "nothing removed before the end"):
        run = runs[name]
        last = run.trajectory[3]
        assert run.summary["undecided"] == sum(last["undecided"].values())
        assert run.summary["deterministic_test_error_percent"] == last["test_error_percent"]
        assert run.summary["surviving_units"] == sum(run.trajectory[4]["architecture"])
        assert 0 <= run.summary["stochastic_test_error_percent"] <= 100
    assert "undecided" not in runs["dense, with weight decay"].summary


class LearningRates(Callback):
    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_epoch_end(self, run: TrainingRun) -> None:
        self.rates.append(run.optimizer.param_groups[0]["lr"])


def test_the_learning_rate_falls_along_half_a_cosine(small: Dataset) -> None:
    rates = LearningRates()
    settings = replace(QUICK, method="dense", epochs=4, batch_size=300)
    Trainer(settings, small, [rates]).fit()
    done = [(4 * epoch - 1) / 16 for epoch in range(1, 5)]  # 4 steps an epoch, the last one short
    expected = [2e-3 * (1 + math.cos(math.pi * x)) / 2 for x in done]
    assert rates.rates == pytest.approx(expected)


class Coefficients(Callback):
    """How far λ has moved in each step, at the most, and what its rate was beside the weights'."""

    def __init__(self) -> None:
        self.moved: list[float] = []
        self.last: torch.Tensor | None = None

    def on_step_end(self, run: TrainingRun) -> None:
        (now,) = run.auxiliary
        if self.last is not None:
            self.moved.append(float((now - self.last).detach().abs().max()))
        self.last = now.detach().clone()
        of_weights, of_coefficients = run.optimizer.param_groups
        assert of_coefficients["lr"] == 3 * of_weights["lr"]


@pytest.mark.slow
def test_coefficients_move_in_every_third_step_alone(small: Dataset) -> None:
    noted = Coefficients()
    Trainer(VARIANTS["HALO, λ every third step"], small, [noted]).fit()
    assert len(noted.moved) == 3 * 250 - 1
    moving = [step for step, moved in enumerate(noted.moved, start=1) if moved > 0]
    assert all(step % 3 == 0 for step in moving)
    assert len(moving) > 200, "the last steps are too short to change a number near 1"


class Steps(Callback):
    """By epoch: how often it stepped, its growth, and what the last step had."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.growths: list[int] = []
        self.rates: list[float] = []
        self.of_theta: list[tuple[float, float, int] | None] = []

    def on_step_end(self, run: TrainingRun) -> None:
        if run.epoch == len(self.counts):
            self.counts.append(0)
            self.growths.append(run.growth)
            self.rates.append(0.0)
            self.of_theta.append(None)
        self.counts[-1] += 1
        self.rates[-1] = run.optimizer.param_groups[0]["lr"]
        assert isinstance(run, Trainer)
        if (pruner := vars(run.method)["pruner"]) is not None:
            self.of_theta[-1] = (pruner.theta_step, pruner.smoothing, pruner.steps)
            assert pruner.steps == run.step


@pytest.mark.slow
def test_batches_grow_as_the_network_shrinks(small: Dataset) -> None:
    noted, settings = Steps(), VARIANTS["batches that grow"]
    trainer = Trainer(settings, small, [noted])
    trainer.fit()
    total = 784 * 300 + 300 * 100 + 100 * 10
    left = [total, *(record["weights_kept"] for record in trainer.trajectory[:-1])]
    expected = [4 if 4 * kept <= total else 2 if 2 * kept <= total else 1 for kept in left]
    assert noted.growths == expected
    assert {1, 4} <= set(expected)
    assert noted.counts == [-(-250 // growth) for growth in expected]
    assert trainer.step == 6 * 250
    for epoch, (growth, rate) in enumerate(zip(expected, noted.rates, strict=True)):
        before = 250 * epoch + growth * (noted.counts[epoch] - 1)  # where the last step began
        cosine = (1 + math.cos(math.pi * before / 1500)) / 2
        assert rate == pytest.approx(math.sqrt(growth) * 2e-3 * cosine)
        if epoch >= 4:
            assert noted.of_theta[epoch] is None
            continue
        step, smoothing, steps = noted.of_theta[epoch] or (0.0, 0.0, 0)
        assert step == pytest.approx(growth / 60)
        assert steps == before + growth
        assert smoothing == pytest.approx(1 - growth / max(10, steps / 10))


def test_weight_decay_is_in_nats_over_the_training_set(small: Dataset) -> None:
    trainer = Trainer(replace(QUICK, weight_decay=3.0), small)
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 3.0 / 1000


class TooSmall(Callback):
    """After every step, weights of black pixels and their averages of the gradient are denormal.

    Neither the loss nor the optimizer would make them anything else: such pixels have no gradient.
    """

    def __init__(self, black: torch.Tensor) -> None:
        self.black = black

    @torch.no_grad()
    def on_step_end(self, run: TrainingRun) -> None:
        weight = weighted_layers(run.model)[0].weight
        for tensor in (weight, run.optimizer.state[weight]["exp_avg"]):
            tensor[::2, self.black] = -LEAST / 2
            tensor[1::2, self.black] = 2 * LEAST


def test_after_an_epoch_no_number_is_too_small_to_be_normal(small: Dataset) -> None:
    black = small.train_images.flatten(1).amax(0) == 0
    settings = replace(QUICK, method="dense", epochs=1, bernoulli_epochs=1)
    trainer = Trainer(settings, small, [TooSmall(black)])
    trainer.fit()
    weight = weighted_layers(trainer.model)[0].weight
    assert bool(black.any())
    for tensor in (weight, trainer.optimizer.state[weight]["exp_avg"]):
        assert bool((tensor[::2, black] == 0).all())
        assert bool((tensor[1::2, black] == 2 * LEAST).all())


def test_the_gates_get_their_prices_in_order(small: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(replace(QUICK, log_gamma=(1.0, 4.0, 8.0)), small)
    for gate in named_gates(trainer.model).values():
        gate.theta.data.fill_(1.0)
    record = trainer.method.record(trainer)
    assert record["penalty"] == pytest.approx((784 * 1 + 300 * 4 + 100 * 8) / 1000)
    with pytest.raises(ValueError, match=r"log_gamma has 2 values; .*gate0, gate1, gate2"):
        train(replace(QUICK, log_gamma=(1.0, 2.0)), small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sizes_and_weights_at_the_start_are_those_asked_for(small: Dataset) -> None:
    def start(**changes: Any) -> nn.Module:
        return Trainer(replace(QUICK, **changes), small).model

    dense = [layer.weight for layer in weighted_layers(start())]
    three_times = [layer.weight for layer in weighted_layers(start(initial_scale=3.0))]
    torch.testing.assert_close(three_times, [3 * weight for weight in dense])
    orthogonal = weighted_layers(start(initialisation="orthogonal", hidden=(50, 30)))
    assert [tuple(layer.weight.shape) for layer in orthogonal] == [(50, 784), (30, 50), (10, 30)]
    for layer in orthogonal:
        gram = layer.weight @ layer.weight.T
        torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-4, rtol=0)
    lenet_5 = replace(QUICK, model="lenet-5", gate_inputs=False, hidden=(4, 6, 30))
    trainer = Trainer(lenet_5, small)
    assert architecture(trainer.model) == [4, 6, 96, 30]


def test_the_dense_counterpart_has_the_classes_of_the_data(small: Dataset, tmp_path: Path) -> None:
    odd = replace(
        small, num_classes=2, train_labels=small.train_labels % 2, eval_labels=small.eval_labels % 2
    )
    settings = replace(QUICK, method="dense", epochs=1, bernoulli_epochs=1, batch_size=100)
    summary = train(settings, odd, tmp_path)
    assert summary["weights_kept"] == summary["weights_total"] == 784 * 300 + 300 * 100 + 100 * 2
    assert summary["macs"] == summary["macs_dense"]


@pytest.mark.parametrize(
    ("model", "method"),
    [
        pytest.param(
            model,
            method,
            marks=() if not model.startswith(("lenet-5", "residual-cnn")) else pytest.mark.slow,
        )
        for model in MODELS
        for method in METHODS
        if not (MODELS[model].has_sections and issubclass(METHODS[method], Structured))
    ],
)
def test_every_method_trains_every_model_and_writes_the_same_files(
    model: str, method: str, small: Dataset, tmp_path: Path
) -> None:
    few = replace(
        small, train_images=small.train_images[:500], train_labels=small.train_labels[:500]
    )
    summary = train(recommended(model, method, epochs=2), few, tmp_path)
    expected = {CHECKPOINT_FILE, SUMMARY_FILE, TRAJECTORY_FILE, WEIGHTS_FILE, DESCRIPTION_FILE}
    assert {path.name for path in tmp_path.iterdir()} == expected
    error = error_percent(load_model(tmp_path), small.eval_images, small.eval_labels)
    assert summary["test_error_percent"] == error < 95
    structured = is_gated(method) or method == "dense"
    assert ("sparsity_curve" in summary) == (not structured)


@pytest.mark.slow
def test_two_epochs_of_full_mnist_already_recognise_digits(mnist: Dataset, tmp_path: Path) -> None:
    settings = recommended("lenet-300-100", gate_inputs=True, epochs=2)
    summary = train(settings, mnist, tmp_path)
    assert len(mnist.train_labels) == 60_000
    assert len(mnist.eval_labels) == 10_000
    assert summary["test_error_percent"] < 8
    assert summary["weights_total"] == 266_200


# --- what can go wrong


class PoisonImages(Callback):
    """From the second epoch on, one pixel is not a number."""

    def on_epoch_end(self, run: TrainingRun) -> None:
        run.dataset.train_images[0, 0, 0, 0] = math.nan


def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_good_checkpoint(
    small: Dataset, tmp_path: Path
) -> None:
    settings = replace(QUICK, epochs=3, bernoulli_epochs=2, batch_size=50)
    poisoned = replace(small, train_images=small.train_images.clone())
    assert poisoned.identity == small.identity  # as yet
    with pytest.raises(TrainingError, match="became nan in epoch 2; lower --learning-rate"):
        train(settings, poisoned, tmp_path, callbacks=[PoisonImages()])
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT_FILE}
    trainer = Trainer(settings, small)
    trainer.load_state_dict(torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True))
    assert trainer.epoch == 1
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())
    train(settings, small, tmp_path, resume=True)
    train(settings, small, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path)


@pytest.mark.parametrize("method", ["bernoulli", "dense"])
def test_a_learning_rate_that_is_far_too_large_is_named(
    method: str, small: Dataset, tmp_path: Path
) -> None:
    settings = replace(QUICK, method=method, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch 1; .*now 1e\+30"):
        train(settings, small, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "the checkpoint is of another run: seed 0 there, 1 here"),
        ({"log_gamma": (5.0,)}, r"log_gamma \[2.0\] there, \[5.0\] here"),
        ({"model": "lenet-5", "gate_inputs": False}, "model 'lenet-300-100' there, 'lenet-5' here"),
        ({"epochs": 7, "batch_size": 8}, "epochs 6 there, 7 here, batch_size 4 there, 8 here"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(
    changes: dict[str, Any], message: str, runs: Runs, tmp_path: Path
) -> None:
    run = runs["bernoulli"]
    shutil.copy(run.directory / "after-2.pt", tmp_path / CHECKPOINT_FILE)
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()
    with pytest.raises(TrainingError, match=message):
        train(replace(run.settings, **changes), run.dataset, tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before


@pytest.mark.parametrize("changes", [{"name": "kmnist"}, {"split": "validation"}])
def test_a_checkpoint_of_other_data_is_refused(
    changes: dict[str, Any], runs: Runs, tmp_path: Path
) -> None:
    run = runs["bernoulli"]
    shutil.copy(run.directory / "after-2.pt", tmp_path / CHECKPOINT_FILE)
    with pytest.raises(TrainingError, match=r"is of another run: (dataset|split)"):
        train(run.settings, replace(run.dataset, **changes), tmp_path, resume=True)


def test_images_of_another_size_are_refused(small: Dataset, tmp_path: Path) -> None:
    narrow = replace(small, train_images=small.train_images[..., :20])
    with pytest.raises(
        TrainingError, match=r"reads images of shape \(1, 28, 28\), .* \(1, 28, 20\)"
    ):
        train(QUICK, narrow, tmp_path / "run")
    assert not (tmp_path / "run").exists()
