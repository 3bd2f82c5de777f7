"""Tests of pruning_core.gates: shapes, modes, frequencies, and θ as a leaf that stays one."""

import contextlib
import copy
import io

import pytest
import torch
from torch import nn

from pruning_core.gates import BernoulliGate, InputGate, named_gates, sampled_gates
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.pathwise import IntegratedGates, Pathwise, StraightThrough


def gate_with(*theta: float, estimator: StraightThrough | None = None) -> BernoulliGate:
    gate = BernoulliGate(len(theta), estimator=estimator)
    gate.theta.data.copy_(torch.tensor(theta))
    return gate


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 5), (2, 3, 7), (1, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_the_output_has_the_shape_of_the_input(shape: tuple[int, ...], training: bool) -> None:
    gate = gate_with(0.2, 0.6, 0.9).train(training)
    assert gate(torch.rand(shape)).shape == shape


def test_evaluation_keeps_exactly_the_units_with_theta_of_a_half_or_more() -> None:
    gate = gate_with(0.0, 0.49, 0.5, 1.0).eval()
    inputs = torch.rand(5, 4, 2, 2)
    expected = inputs * torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 4, 1, 1)
    assert torch.equal(gate(inputs), expected)
    assert gate.is_open().tolist() == [False, False, True, True]


def test_training_draws_every_unit_of_every_example_with_its_own_probability() -> None:
    torch.manual_seed(0)
    theta = torch.tensor([0.0, 0.1, 0.5, 0.93, 1.0])
    gate = gate_with(*theta.tolist(), estimator=StraightThrough()).train()
    draws = gate(torch.ones(40_000, 5)).detach()
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    error = (theta * (1 - theta) / 40_000).sqrt()
    assert bool(((draws.mean(0) - theta).abs() <= 4.5 * error).all())
    correlation = torch.corrcoef(draws[:, 1:4].T) - torch.eye(3)
    assert float(correlation.abs().max()) < 4.5 / 200


def test_one_draw_covers_all_pixels_of_a_filter() -> None:
    torch.manual_seed(0)
    draws = (
        gate_with(0.5, 0.5, estimator=StraightThrough()).train()(torch.ones(100, 2, 3, 3)).detach()
    )
    assert torch.equal(draws, draws[:, :, :1, :1].expand_as(draws))
    assert 0 < float(draws[:, 0, 0, 0].mean()) < 1


def test_integrated_gates_draw_a_fraction_of_uniform_values() -> None:
    torch.manual_seed(0)
    gate = BernoulliGate(2, estimator=IntegratedGates(0.25)).train()
    gate.theta.data.copy_(torch.tensor([0.8, 1.0]))
    draws = gate(torch.ones(40_000, 2)).detach()
    for unit, theta in enumerate((0.8, 1.0)):
        values = draws[:, unit]
        between = (values > 0) & (values < 1)
        assert float(between.float().mean()) == pytest.approx(0.25, abs=0.01)
        quartiles = torch.quantile(values[between], torch.tensor([0.25, 0.5, 0.75]))
        assert quartiles.tolist() == pytest.approx([0.25, 0.5, 0.75], abs=0.02)
        assert float(values[~between].mean()) == pytest.approx(theta, abs=0.01)
    assert float(torch.corrcoef((draws % 1 > 0).float().T)[0, 1]) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(
    ("draws", "num_examples", "distinct"), [(None, 64, 64), (1, 64, 1), (8, 64, 8), (8, 60, 60)]
)
def test_the_examples_of_a_batch_share_the_draws_evenly(
    draws: int | None, num_examples: int, distinct: int
) -> None:
    torch.manual_seed(0)
    gate = BernoulliGate(50, theta=0.5, estimator=IntegratedGates(draws=draws)).train()
    ones = torch.ones(num_examples, 50, 2, 2)
    drawn = gate(ones).detach()
    assert torch.equal(drawn, drawn[:, :, :1, :1].expand_as(drawn))
    rows, counts = drawn[:, :, 0, 0].unique(dim=0, return_counts=True)
    assert len(rows) == distinct
    assert counts.unique().tolist() == [num_examples // distinct]
    assert not torch.equal(gate(ones).detach(), drawn)


@pytest.mark.parametrize("draws", [None, 2])
@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (6, 3), (4, 3, 2), (4, 3, 2, 2)])
def test_the_gradient_of_the_inputs_is_what_multiplied_them(
    shape: tuple[int, ...], draws: int | None
) -> None:
    gate = BernoulliGate(3, estimator=IntegratedGates(draws=draws)).train()
    inputs = torch.rand(shape, requires_grad=True)
    outputs = gate(inputs)
    assert outputs.shape == inputs.shape
    outputs.sum().backward()
    assert gate.theta.grad is not None
    torch.testing.assert_close(inputs.grad, (outputs / inputs).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_certain_units_are_certain_in_every_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gate = gate_with(0.0, 1.0, 0.5, estimator=StraightThrough()).to(dtype).train()
    draws = gate(torch.ones(10_000, 3, dtype=dtype)).detach().double().mean(0)
    assert draws[:2].tolist() == [0.0, 1.0]
    assert float(draws[2]) == pytest.approx(0.5, abs=0.03)


def test_theta_is_state_but_not_a_parameter() -> None:
    model = lenet_300_100((6, 5), gate_inputs=True)
    assert not any("gate" in name for name, _ in model.named_parameters())
    assert {f"gate{i}.theta" for i in range(3)} <= set(model.state_dict())


def assert_theta_learns(gate: BernoulliGate) -> None:
    """θ is a leaf that receives a gradient."""
    assert gate.theta.is_leaf
    assert gate.theta.requires_grad
    gate.train()(torch.ones(8, gate.num_units, dtype=gate.theta.dtype)).sum().backward()
    assert gate.theta.grad is not None
    assert gate.theta.grad.dtype == gate.theta.dtype


def test_theta_stays_a_leaf_through_conversion_copy_and_loading() -> None:
    gate = gate_with(0.25, 0.75)
    assert_theta_learns(gate.to(torch.float64))
    assert gate.theta.dtype == torch.float64
    assert_theta_learns(gate.float().to("cpu"))
    twin = copy.deepcopy(gate)
    assert_theta_learns(twin)
    assert twin.theta is not gate.theta
    buffer = io.BytesIO()
    torch.save(gate, buffer)
    buffer.seek(0)
    assert_theta_learns(torch.load(buffer, weights_only=False))
    fresh = BernoulliGate(2)
    fresh.load_state_dict(gate.state_dict())
    assert_theta_learns(fresh)
    assert fresh.theta.tolist() == [0.25, 0.75]
    moved = gate.to("meta")
    assert moved.theta.is_leaf
    assert moved.theta.requires_grad


def test_theta_stays_a_leaf_when_a_state_is_assigned() -> None:
    fresh = BernoulliGate(2)
    fresh.load_state_dict(gate_with(0.25, 0.75).state_dict(), assign=True)
    assert_theta_learns(fresh)


@pytest.mark.parametrize("shape", [(2, 4), (2, 2, 3), (3,), ()])
def test_an_input_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the gate has 3 units, but its input has shape .*3, …"):
        BernoulliGate(3)(torch.ones(shape))


@pytest.mark.parametrize("num_units", [0, -2])
def test_a_gate_needs_a_unit(num_units: int) -> None:
    with pytest.raises(ValueError, match=f"num_units is {num_units};"):
        BernoulliGate(num_units)


@pytest.mark.parametrize("theta", [-0.1, 1.01, float("nan")])
def test_theta_must_be_a_probability(theta: float) -> None:
    with pytest.raises(ValueError, match=f"theta is {theta};"):
        BernoulliGate(3, theta=theta)


@pytest.mark.parametrize("training", [True, False])
def test_held_multipliers_replace_the_draws_in_either_mode(training: bool) -> None:
    gate = gate_with(0.0, 1.0).train(training)
    inputs = torch.rand(3, 2, 2, 2)
    each = torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, 0.25]])
    with gate.hold(torch.tensor([[0.25, 2.0]])):
        with gate.hold(each):
            assert torch.equal(gate(inputs), inputs * each.view(3, 2, 1, 1))
        assert torch.equal(gate(inputs), inputs * torch.tensor([0.25, 2.0]).view(1, 2, 1, 1))
    assert torch.equal(gate.eval()(inputs)[:, 0], torch.zeros(3, 2, 2))


def test_holding_ends_with_an_error_too() -> None:
    gate = gate_with(1.0).eval()
    with pytest.raises(KeyError), gate.hold(torch.zeros(1, 1)):
        raise KeyError
    assert gate(torch.ones(1, 1)).item() == 1


def test_sampled_gates_draw_in_evaluation_mode_and_round_again_afterwards() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(gate_with(0.2, 0.8)).eval()
    inputs = torch.ones(20_000, 2)
    with sampled_gates(model):
        draws = model(inputs)
    assert draws.mean(0).tolist() == pytest.approx([0.2, 0.8], abs=0.015)
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(model(inputs), torch.tensor([0.0, 1.0]).expand(20_000, 2))


def test_the_gradient_of_theta_reaches_it_through_feature_maps() -> None:
    """Straight-through: Σ over examples and pixels of the input, times the gradient above."""
    gate = gate_with(0.3, 0.6, estimator=StraightThrough()).train()
    inputs, above = torch.rand(4, 2, 3, 3), torch.rand(4, 2, 3, 3)
    gate(inputs).backward(above)
    assert gate.theta.grad is not None
    torch.testing.assert_close(gate.theta.grad, (inputs * above).sum((0, 2, 3)))


def test_the_gradient_of_the_input_passes_the_drawn_multipliers() -> None:
    torch.manual_seed(0)
    inputs = torch.rand(6, 3, 2, 2, requires_grad=True)
    outputs = gate_with(0.5, 0.5, 0.5).train()(inputs)
    outputs.sum().backward()
    torch.testing.assert_close(inputs.grad, (outputs / inputs).detach())


def test_an_input_gate_passes_the_selected_features_only() -> None:
    gate = InputGate(5, theta=1.0).eval()
    inputs = torch.rand(4, 5)
    assert torch.equal(gate(inputs), inputs)
    for name in ("theta", "theta_average", "gradient_average"):
        setattr(gate, name, getattr(gate, name).detach()[:2])
    gate.selected = torch.tensor([1, 4])
    assert torch.equal(gate(inputs), inputs[:, [1, 4]])
    gate.theta = torch.tensor([0.0, 1.0])
    assert torch.equal(gate(inputs), inputs[:, [1, 4]] * torch.tensor([0.0, 1.0]))


def test_a_settled_gate_draws_no_more_and_tells_who_loads_it() -> None:
    gate = gate_with(0.2, 0.5, 0.9).train()
    gate.settle_()
    assert gate.theta.tolist() == [0.0, 1.0, 1.0]
    inputs = torch.rand(50, 3, requires_grad=True)
    assert torch.equal(gate(inputs), inputs * torch.tensor([0.0, 1.0, 1.0]))
    assert not gate.took_part
    gate.keep_(torch.tensor([1, 2]))
    fresh = BernoulliGate(2).train()
    fresh.load_state_dict(gate.state_dict())
    assert fresh.is_settled
    assert copy.deepcopy(fresh).is_settled
    fresh.load_state_dict(BernoulliGate(2).state_dict())
    assert not fresh.is_settled


def test_a_gate_notes_passes_that_can_teach_it() -> None:
    gate = gate_with(0.5, 0.5).train()
    with torch.no_grad():
        gate(torch.ones(2, 2))
    gate.eval()(torch.ones(2, 2))
    assert not gate.took_part
    with gate.train().hold(torch.ones(1, 2)):
        gate(torch.ones(2, 2))
    assert gate.took_part


@pytest.mark.parametrize("mode", ["train", "eval", "sampled", "held"])
@pytest.mark.parametrize(
    "estimator", [IntegratedGates(), IntegratedGates(draws=2), StraightThrough()]
)
def test_activations_keep_their_precision(mode: str, estimator: Pathwise) -> None:
    gate = BernoulliGate(3, estimator=estimator).train(mode == "train")
    inputs = torch.ones(4, 3, dtype=torch.bfloat16, requires_grad=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.autocast("cpu", torch.bfloat16))
        if mode == "sampled":
            stack.enter_context(sampled_gates(gate))
        if mode == "held":
            stack.enter_context(gate.hold(torch.rand(4, 3)))
        outputs = gate(inputs)
    assert outputs.dtype == torch.bfloat16
    outputs.sum().backward()
    if mode == "train":
        assert gate.theta.grad is not None
        assert gate.theta.grad.dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 4), (2, 5, 1), (5,)])
def test_an_input_gate_refuses_other_features(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="selects from 5 features, but its input has shape"):
        InputGate(5)(torch.ones(shape))


def test_gates_are_named_in_the_order_of_the_modules() -> None:
    gates = named_gates(lenet_5(gate_features=True))
    assert list(gates) == ["gate1", "gate2", "gate_features", "gate3"]
    assert [gate.num_units for gate in gates.values()] == [20, 50, 800, 500]


def test_a_model_without_gates_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential has no BernoulliGate; put one after"):
        named_gates(nn.Sequential(nn.Linear(2, 2)))


def test_averages_of_buffers_include_those_of_gates() -> None:
    model = nn.Sequential(nn.Linear(3, 4), BernoulliGate(4, theta=0.5))
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    gate = named_gates(model)["1"]
    for theta in (0.2, 0.6):
        gate.theta.data.fill_(theta)
        average.update_parameters(model)
    averaged = named_gates(average)["module.1"]
    torch.testing.assert_close(averaged.theta, torch.full((4,), 0.4), check_stride=False)
    assert averaged.unit_index.tolist() == [0, 1, 2, 3]
    assert not averaged.is_settled
