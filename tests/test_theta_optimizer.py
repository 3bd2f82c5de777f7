"""Tests of pruning_core.theta_optimizer: θ is safe in any loop."""

import copy
import io
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pruning_core import _projected
from pruning_core.bernoulli import BernoulliPruner
from pruning_core.checkpoints import load_checkpoint, save_checkpoint
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.pathwise import Pathwise, StraightThrough, broadcast


def network(
    units: int = 8, estimator: Pathwise | None = None, theta: float = 0.9, seed: int = 0
) -> nn.Sequential:
    torch.manual_seed(seed)
    gates = [BernoulliGate(units, estimator=estimator, theta=theta) for _ in range(2)]
    return nn.Sequential(
        nn.Linear(3, units), nn.ReLU(), gates[0],
        nn.Linear(units, units), nn.ReLU(), gates[1], nn.Linear(units, 2),
    )  # fmt: skip


def batch(size: int = 32, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 3, generator=generator)
    return inputs, (inputs.sum(1) > 0).long()


def thetas(model: nn.Module) -> Tensor:
    return torch.cat([gate.theta.detach().clone() for gate in named_gates(model).values()])


def memory(model: nn.Module) -> list[Tensor]:
    """θ and its averages."""
    names = ("theta", "theta_average", "gradient_average")
    gates = named_gates(model).values()
    return [getattr(gate, name).detach().clone() for gate in gates for name in names]


def train(
    model: nn.Module,
    pruner: BernoulliPruner,
    steps: int,
    *,
    scaler: torch.amp.GradScaler | None = None,
    factors: dict[int, float] | None = None,
) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(steps):
        inputs, labels = batch(seed=step)
        loss = F.cross_entropy(model(inputs), labels) * (factors or {}).get(step, 1.0)
        loss = loss + pruner.penalty()
        optimizer.zero_grad()
        pruner.zero_grad()
        if scaler is None:
            loss.backward()
            optimizer.step()
            pruner.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.step(pruner)
            scaler.update()


def test_it_is_an_optimizer_with_a_group_for_each_gate() -> None:
    model = network()
    pruner = BernoulliPruner(model, {"2": 3.0, "5": 30.0}, 100, theta_step=1 / 200)
    gates = named_gates(model)
    assert isinstance(pruner, torch.optim.Optimizer)
    for group, (name, gate) in zip(pruner.param_groups, gates.items(), strict=True):
        assert group["params"][0] is gate.theta
        assert group["name"] == name
        assert group["lr"] == 1 / 200
    assert [group["price"] for group in pruner.param_groups] == [3.0, 30.0]
    pruner.theta_step, pruner.smoothing, pruner.price_scale = 1 / 50, 0.5, 0.25
    for group in pruner.state_dict()["param_groups"]:
        assert (group["lr"], group["smoothing"], group["price_scale"]) == (1 / 50, 0.5, 0.25)
    with pytest.raises(ValueError, match=r"theta_step is 0\.0; a number in \(0, 1\]"):
        pruner.theta_step = 0.0


def test_zero_grad_clears_what_no_step_has_used_and_a_step_what_it_has() -> None:
    model = network()
    pruner = BernoulliPruner(model, 5.0, 100)
    (model(batch()[0]).sum() + pruner.penalty()).backward()
    pruner.zero_grad()
    assert all(gate.theta.grad is None for gate in pruner.gates.values())
    (model(batch()[0]).sum() + pruner.penalty()).backward()
    pruner.step()
    assert all(gate.theta.grad is None for gate in pruner.gates.values())


def test_a_scheduler_moves_the_step_on_theta_and_each_gate_may_have_its_own() -> None:
    model = network()
    pruner = BernoulliPruner(model, 5.0, 100, theta_step=0.1, smoothing=0.0)
    schedule = torch.optim.lr_scheduler.StepLR(pruner, 1, gamma=0.1)
    pruner.param_groups[1]["lr"] = 0.0
    moved = []
    for _ in range(2):
        before = thetas(model)
        pruner.penalty().backward()  # nothing but the price: a step of theta_step exactly
        for gate in pruner.gates.values():
            gate.took_part = True
        pruner.step()
        schedule.step()
        moved.append(before - thetas(model))
    expected = torch.tensor([1.0] * 8 + [0.0] * 8)
    torch.testing.assert_close(moved[0], 0.1 * expected)
    torch.testing.assert_close(moved[1], 0.01 * expected)


def test_a_closure_is_evaluated_with_gradients() -> None:
    model = network()
    pruner = BernoulliPruner(model, 5.0, 100)
    before = thetas(model)

    def closure() -> Tensor:
        loss = F.cross_entropy(model(batch()[0]), batch()[1]) + pruner.penalty()
        loss.backward()
        return loss

    assert float(pruner.step(closure).detach()) > 0
    assert not torch.equal(thetas(model), before)


@pytest.mark.parametrize("scale", [1.0, 65_536.0, 2.0**100])
def test_theta_does_not_depend_on_the_scale_of_the_loss(scale: float) -> None:
    plain, scaled = network(), network()
    for model, scaler in ((plain, None), (scaled, torch.amp.GradScaler("cpu", init_scale=scale))):
        torch.manual_seed(3)
        train(model, BernoulliPruner(model, 5.0, 500, theta_step=1 / 30), 40, scaler=scaler)
    assert float((thetas(plain) - 0.9).abs().min()) > 0.01
    torch.testing.assert_close(thetas(scaled), thetas(plain), rtol=0, atol=1e-5)


def test_a_bare_step_after_a_scaled_loss_is_an_error() -> None:
    model = network()
    pruner = BernoulliPruner(model, 5.0, num_examples=5000)
    before = thetas(model)
    scaler = torch.amp.GradScaler("cpu")
    inputs, labels = batch()
    loss = F.cross_entropy(model(inputs), labels) + pruner.penalty()
    scaler.scale(loss).backward()
    with pytest.raises(RuntimeError, match=r"multiplied by 65536, .* call scaler\.step\(pruner\)"):
        pruner.step()
    assert torch.equal(thetas(model), before)


def test_theta_unscaled_by_hand_is_not_unscaled_again() -> None:
    """As one does who clips."""
    found = []
    for by_hand in (False, True):
        model = network()
        pruner = BernoulliPruner(model, 5.0, 500, theta_step=1 / 30, smoothing=0.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        torch.manual_seed(3)
        loss = F.cross_entropy(model(batch()[0]), batch()[1]) + pruner.penalty()
        scaler.scale(loss).backward()
        if by_hand:
            scaler.unscale_(pruner)
        scaler.step(pruner)
        scaler.update()
        found.append(thetas(model))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("factor", [math.inf, math.nan])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("answers_at_once", [True, False])
def test_a_gradient_that_is_not_finite_moves_nothing(
    factor: float, scaled: bool, answers_at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a processor, and as on a GPU, which is not asked."""
    if not answers_at_once:
        monkeypatch.setattr(_projected, "_ANSWERS_AT_ONCE", ())
    model = network()
    pruner = BernoulliPruner(model, 5.0, 500, theta_step=1 / 30)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0) if scaled else None
    train(model, pruner, 3, scaler=scaler)
    before = memory(model)
    weights = [p.detach().clone() for p in model.parameters()]
    train(model, pruner, 1, scaler=scaler, factors={0: factor})
    assert all(torch.equal(a, b) for a, b in zip(before, memory(model), strict=True))
    assert pruner.skipped_steps == 1
    with torch.no_grad():  # without a scaler, the weights are not finite now
        for parameter, value in zip(model.parameters(), weights, strict=True):
            parameter.copy_(value)
    train(model, pruner, 1, scaler=scaler)
    assert pruner.skipped_steps == 1
    assert not torch.equal(thetas(model), torch.cat([before[0], before[3]]))
    assert bool(thetas(model).isfinite().all())


def test_a_gpu_would_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [network(), network()]
    for model in models:
        torch.manual_seed(3)
        train(model, BernoulliPruner(model, 5.0, 500, theta_step=1 / 30), 40)
        monkeypatch.setattr(_projected, "_ANSWERS_AT_ONCE", ())
    first, second = (memory(model) for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_theta_learns_in_models_of_half_precision(dtype: torch.dtype, autocast: bool) -> None:
    """Where it rests as in single precision, since it is float32 there too."""
    model = network(32)
    dtypes: list[torch.dtype] = []
    for gate in named_gates(model).values():
        gate.register_forward_hook(lambda _module, _inputs, output: dtypes.append(output.dtype))
    if not autocast:
        model.to(dtype)
    pruner = BernoulliPruner(model, 20.0, 64, theta_step=1 / 400)
    for step in range(600):
        inputs, labels = batch(64, seed=step)
        with torch.autocast("cpu", dtype, enabled=autocast):
            outputs = model(inputs if autocast else inputs.to(dtype))
        (F.cross_entropy(outputs.float(), labels) + pruner.penalty()).backward()
        pruner.step()
    assert set(dtypes) == {dtype}
    assert {tensor.dtype for tensor in memory(model)} == {torch.float32}
    assert float(thetas(model).max()) < 0.03  # 20 nats each are more than 64 examples can pay


def test_a_forgotten_train_after_an_evaluation_is_an_error() -> None:
    model = network()
    pruner = BernoulliPruner(model, 2.0, 500)
    train(model, pruner, 2)
    model.eval()
    with torch.no_grad():
        model(batch()[0])
    before = memory(model)
    with pytest.raises(RuntimeError, match=r"gate '2' was in evaluation mode.*call model\.train"):
        train(model, pruner, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, memory(model), strict=True))
    pruner.zero_grad()
    model.train()
    train(model, pruner, 1)
    assert not torch.equal(thetas(model), torch.cat([before[0], before[3]]))


def test_the_mode_counts_that_the_pass_was_in() -> None:
    """An evaluation between the pass and the step changes nothing."""
    model = network()
    pruner = BernoulliPruner(model, 2.0, 500)
    (F.cross_entropy(model(batch()[0]), batch()[1]) + pruner.penalty()).backward()
    model.eval()
    pruner.step()
    assert not torch.equal(thetas(model), torch.full((16,), 0.9))


def test_a_pass_without_gradients_is_an_error() -> None:
    model = network()
    pruner = BernoulliPruner(model, 2.0, 500)
    with torch.no_grad():
        model(batch()[0])
    pruner.penalty().backward()
    with pytest.raises(RuntimeError, match=r"gate '2' has no gradient; .*gradients enabled"):
        pruner.step()


@pytest.mark.parametrize("how", ["evaluating", "not reached", "frozen", "without gradients"])
def test_a_gate_that_takes_no_part_is_left_alone_and_the_others_learn(how: str) -> None:
    model = network()
    pruner = BernoulliPruner(model, 2.0, 500, theta_step=1 / 20)
    first, second = named_gates(model).values()
    inputs, labels = batch()
    if how == "evaluating":
        first.eval()
    if how == "frozen":
        first.theta.requires_grad_(False)
    before = memory(model)
    for _ in range(5):
        if how == "not reached":
            outputs = model[3:](torch.cat([inputs, inputs, inputs[:, :2]], 1))
        elif how == "without gradients":
            with torch.no_grad():
                hidden = model[:3](inputs)
            outputs = model[3:](hidden)
        else:
            outputs = model(inputs)
        (F.cross_entropy(outputs, labels) + pruner.penalty()).backward()
        pruner.step()
        assert first.theta.grad is None
    after = memory(model)
    assert all(torch.equal(a, b) for a, b in zip(before[:3], after[:3], strict=True))
    assert not torch.equal(before[3], after[3])
    assert not torch.equal(second.theta_average, before[4])


def test_where_every_theta_is_frozen_a_step_does_nothing() -> None:
    model = network()
    pruner = BernoulliPruner(model, 2.0, 500)
    for gate in pruner.gates.values():
        gate.theta.requires_grad_(False)
    before = memory(model)
    train(model, pruner, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, memory(model), strict=True))


def test_copies_made_for_data_parallel_count_as_a_pass() -> None:
    gate = BernoulliGate(3)
    gate._replicate_for_data_parallel()
    assert gate.took_part
    gate.eval().took_part = False
    gate._replicate_for_data_parallel()
    assert not gate.took_part


class Scripted(StraightThrough):
    """Multipliers by example, laid down in advance."""

    def __init__(self) -> None:
        self.draws = torch.zeros(0)

    def multiply(self, inputs: Tensor, theta: Tensor, dim: int = 1) -> Tensor:
        return inputs * broadcast(self.draws + (theta - theta.detach()), inputs, dim)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_accumulated_gradients_are_those_of_the_large_batch(parts: int) -> None:
    estimator = Scripted()
    model = network(estimator=estimator)
    pruner = BernoulliPruner(model, 2.0, 500, theta_step=1 / 20)
    inputs, labels = batch(32)
    draws = torch.bernoulli(torch.full((32, 8), 0.6), generator=torch.Generator().manual_seed(0))
    for part in torch.arange(32).chunk(parts):
        estimator.draws = draws[part]
        loss = F.cross_entropy(model(inputs[part]), labels[part]) + pruner.penalty()
        (loss / parts).backward()
    pruner.step()

    estimator = Scripted()
    reference = network(estimator=estimator)
    other = BernoulliPruner(reference, 2.0, 500, theta_step=1 / 20)
    estimator.draws = draws
    (F.cross_entropy(reference(inputs), labels) + other.penalty()).backward()
    other.step()
    assert not torch.equal(thetas(reference), torch.full((16,), 0.9))
    torch.testing.assert_close(memory(model), memory(reference), rtol=0, atol=1e-7)


def test_a_run_goes_on_from_the_states_of_model_and_pruner_to_the_bit() -> None:
    def fresh() -> tuple[nn.Module, BernoulliPruner]:
        model = network()
        return model, BernoulliPruner(
            model, 2.0, 500, theta_step=1 / 60, total_steps=600, ramp_steps=20, smoothing=0.5
        )

    torch.manual_seed(5)
    model, pruner = fresh()
    torch.manual_seed(5)
    train(model, pruner, 50)
    buffer = io.BytesIO()
    torch.save((model.state_dict(), pruner.state_dict(), torch.get_rng_state()), buffer)
    train(model, pruner, 70)

    buffer.seek(0)
    saved, of_pruner, draws = torch.load(buffer, weights_only=True)
    other, resumed = fresh()
    other.load_state_dict(saved)
    resumed.load_state_dict(of_pruner)
    assert resumed.steps == 50
    torch.set_rng_state(draws)
    train(other, resumed, 70)
    assert all(torch.equal(a, b) for a, b in zip(memory(model), memory(other), strict=True))
    assert resumed.param_groups[0]["params"][0] is next(iter(named_gates(other).values())).theta
    assert (resumed.smoothing, resumed.price_scale) == (pruner.smoothing, pruner.price_scale)


@pytest.mark.parametrize("settled", [False, True])
def test_a_run_goes_on_after_units_have_left(settled: bool, tmp_path: Path) -> None:
    """From one file, in a fresh network of the first sizes."""

    def fresh() -> tuple[nn.Module, torch.optim.Optimizer, BernoulliPruner]:
        model = network()
        pruner = BernoulliPruner(
            model, 5.0, 500, theta_step=1 / 60, total_steps=600, example_inputs=batch()[0]
        )
        return model, torch.optim.Adam(model.parameters(), 1e-2), pruner

    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, pruner: BernoulliPruner) -> None:
        for step in range(20):
            inputs, labels = batch(seed=step)
            (F.cross_entropy(model(inputs), labels) + pruner.penalty()).backward()
            optimizer.step()
            optimizer.zero_grad()
            pruner.step()

    run = fresh()
    model, optimizer, pruner = run
    steps(*run)
    for gate in pruner.gates.values():
        gate.theta.data[:3] = gate.theta_average[:3] = 0.0
        gate.gradient_average[:3] = 5.0 / 500
    if settled:
        pruner.settle_(optimizer)
    else:
        assert pruner.compact_(optimizer) == 6
    steps(*run)
    save_checkpoint(tmp_path / "run.safetensors", *run)
    steps(*run)

    other = fresh()
    load_checkpoint(tmp_path / "run.safetensors", *other)
    assert other[2].is_settled == settled
    steps(*other)
    pairs = [*zip(memory(model), memory(other[0]), strict=True)]
    pairs += [*zip(model.state_dict().values(), other[0].state_dict().values(), strict=True)]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [gate.num_units for gate in other[2].gates.values()] == [5, 5]
    held = [group["params"][0] for group in other[2].param_groups]
    assert all(a is gate.theta for a, gate in zip(held, other[2].gates.values(), strict=True))


def test_a_state_of_other_prices_is_refused() -> None:
    state = BernoulliPruner(network(), 2.0, 500).state_dict()
    pruner = BernoulliPruner(network(), {"2": 2.0, "5": 3.0}, 500)
    with pytest.raises(ValueError, match=r"gates with the prices .*'5': 2.0.*has .*'5': 3.0"):
        pruner.load_state_dict(state)


def test_a_copy_of_model_and_pruner_learns_by_itself() -> None:
    model = network()
    pruner = BernoulliPruner(model, 2.0, 500, theta_step=1 / 20)
    torch.optim.lr_scheduler.StepLR(pruner, 10)
    other, twin = copy.deepcopy((model, pruner))
    before = thetas(model)
    train(other, twin, 3)
    assert torch.equal(thetas(model), before)
    assert not torch.equal(thetas(other), before)
    assert twin.model is other


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [None, StraightThrough()], ids=["integrated", "straight"])
def test_a_compiled_model_learns_the_same_theta_without_graph_breaks(
    estimator: Pathwise | None,
) -> None:
    paths = []
    for compiled in (False, True):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        model = network(estimator=estimator)
        called: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
        pruner = BernoulliPruner(model, 5.0, 500, theta_step=1 / 60, example_inputs=batch()[0])
        torch.manual_seed(7)
        for step in range(6):
            inputs, labels = batch(seed=step)
            outputs = (called if compiled else model)(inputs)
            (F.cross_entropy(outputs, labels) + pruner.penalty()).backward()
            pruner.step()
        paths.append(thetas(model))
    assert not torch.equal(paths[0], torch.full((16,), 0.9))
    torch.testing.assert_close(paths[0], paths[1])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.slow
def test_a_compiled_model_compiles_once_for_each_removal() -> None:
    torch._dynamo.reset()
    compilations = []

    def counted(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Any:
        compilations.append(1)
        return graph.forward

    model = network()
    called: Any = torch.compile(model, backend=counted)
    pruner = BernoulliPruner(called, 5.0, 500, example_inputs=batch()[0])
    optimizer = torch.optim.Adam(model.parameters())
    counts = []
    for units in (0, 2, 1):
        for gate in pruner.gates.values():
            gate.theta.data[:units] = gate.theta_average[:units] = 0.0
            gate.gradient_average[:units] = 5.0 / 500  # worth nothing
        removed = pruner.compact_(optimizer)
        assert removed == 2 * units
        for step in range(3):
            inputs, labels = batch(seed=step)
            (F.cross_entropy(called(inputs), labels) + pruner.penalty()).backward()
            optimizer.step()
            optimizer.zero_grad()
            pruner.step()
        counts.append(len(compilations))
    assert counts == [1, 2, 3]


def _rank(rank: int, directory: str, broadcast_buffers: bool) -> None:
    """Five steps, a removal, five steps; writes what this rank ends with."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{directory}/meet",
        rank=rank,
        world_size=2,
        timeout=timedelta(minutes=5),
    )
    model = network()
    pruner = BernoulliPruner(model, 1.0, 128, theta_step=1 / 20, smoothing=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    found: dict[str, Tensor] = {}

    def steps(name: str) -> None:
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=broadcast_buffers)
        for step in range(5):
            torch.manual_seed(100 * rank + step)  # other draws on each rank
            inputs, labels = batch(64, seed=100 * rank + step)
            loss = F.cross_entropy(wrapped(inputs), labels) + pruner.penalty()
            optimizer.zero_grad()
            pruner.zero_grad()
            loss.backward()
            if name == "before" and step == 0:
                own = [gate.theta.grad for gate in pruner.gates.values()]
                found["own gradient"] = torch.cat([grad for grad in own if grad is not None])
            optimizer.step()
            pruner.step()
            if name == "before" and step == 0:
                found["average"] = torch.cat([g.gradient_average for g in pruner.gates.values()])
        found[f"theta {name}"] = thetas(model)
        found[f"memory {name}"] = torch.cat([t.flatten() for t in memory(model)])
        found[f"weights {name}"] = torch.cat([p.detach().flatten() for p in model.parameters()])

    steps("before")
    for gate in pruner.gates.values():
        gate.theta.data[:3] = gate.theta_average[:3] = 0.0
        gate.gradient_average[:3] = 1.0 / 128
    found["removed"] = torch.tensor(pruner.compact_(optimizer))
    steps("after")
    torch.save(found, Path(directory) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("broadcast_buffers", [True, False])
def test_two_processes_keep_the_same_theta_and_remove_the_same_units(
    broadcast_buffers: bool, tmp_path: Path
) -> None:
    torch.multiprocessing.spawn(_rank, (str(tmp_path), broadcast_buffers), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert not torch.allclose(first["own gradient"], second["own gradient"])
    torch.testing.assert_close(
        first["average"], (first["own gradient"] + second["own gradient"]) / 2
    )
    for name in set(first) - {"own gradient"}:
        assert torch.equal(first[name], second[name]), name
    assert first["removed"].item() == 6
    assert len(first["theta before"]) - len(first["theta after"]) == 6
    assert not torch.equal(first["theta after"], torch.full((10,), 0.9))
