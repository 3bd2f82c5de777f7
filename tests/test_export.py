"""Tests of pruning_core.export: the end product needs nothing of pruning_core."""

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.compaction import compact_
from pruning_core.export import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    export,
    load_model,
    remove_gates_,
    save_model,
)
from pruning_core.gates import BernoulliGate, InputGate, named_gates
from pruning_core.insertion import insert_gates_
from pruning_core.metrics import architecture, count_bytes
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.resizing import ModelFileError
from pruning_core.sparsity import make_permanent_, prune_

IMAGES = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """A stranger's model: a residual addition gated on both branches, in feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 5, stride=3)
        self.norm = nn.BatchNorm2d(6)
        self.stem_gate = BernoulliGate(6)
        self.branch = nn.Conv2d(6, 6, 3, padding=1)
        self.branch_gate = BernoulliGate(6)
        self.hidden = nn.Linear(6 * 64, 5)
        self.hidden_gate = BernoulliGate(5)
        self.out = nn.Linear(5, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_gate(torch.relu(self.norm(self.stem(x))))
        x = x + self.branch_gate(torch.relu(self.branch(x)))
        return self.out(self.hidden_gate(torch.relu(self.hidden(x.flatten(1)))))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "LeNet-300-100": lambda: lenet_300_100((30, 20), gate_inputs=True),
    "LeNet-5": lambda: lenet_5((5, 8), 20, gate_features=True),
    "stranger": Residual,
}


def settled(name: str, compacted: bool = True) -> nn.Module:
    """A model whose gates are decided at random, and removed where they can be."""
    torch.manual_seed(1)
    model = MODELS[name]()
    for parameter in model.parameters():  # batch norms with statistics that are not those of birth
        parameter.data.add_(0.1 * torch.rand_like(parameter))
    model.train()(torch.rand(8, 1, 28, 28))
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=IMAGES)
    for gate in pruner.gates.values():
        gate.theta.data.copy_((torch.rand(gate.num_units) < 0.6).float())
        gate.theta.data[0] = 1.0
    if compacted:
        assert pruner.settle_() > 0
    return model.eval()


@pytest.mark.parametrize("name", list(MODELS))
def test_the_exported_model_computes_the_same_without_anything_of_pruning_core(name: str) -> None:
    model = settled(name)
    plain = export(model)
    assert torch.equal(plain(IMAGES), model(IMAGES))
    assert "gate" in "".join(named_gates(model))  # the model itself keeps its gates
    for module in plain.modules():
        assert not type(module).__module__.startswith("pruning_core") or type(module) is Residual
        assert not isinstance(module, BernoulliGate)
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in model.named_parameters()]


@pytest.mark.parametrize("name", list(MODELS))
def test_gates_that_are_decided_but_not_yet_compacted_keep_their_effect(name: str) -> None:
    model = settled(name, compacted=False)
    torch.testing.assert_close(export(model)(IMAGES), model(IMAGES))


@pytest.mark.slow
def test_it_loads_and_runs_where_pruning_core_cannot_be_imported(tmp_path: Path) -> None:
    models = {name: settled(name) for name in ("LeNet-300-100", "LeNet-5")}
    torch.save({name: export(model) for name, model in models.items()}, tmp_path / "models.pt")
    torch.save(IMAGES, tmp_path / "images.pt")
    script = """if True:
        import sys
        sys.modules["pruning_core"] = None  # any import of it, or from it, now fails
        import torch
        try:
            import pruning_core.gates
        except ImportError:
            pass
        else:
            raise SystemExit("pruning_core could be imported")
        models, images = torch.load("models.pt", weights_only=False), torch.load("images.pt")
        torch.save({name: model(images).detach() for name, model in models.items()}, "outputs.pt")
        assert not [name for name in sys.modules if name.startswith("pruning_core.")]
    """
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    outputs = torch.load(tmp_path / "outputs.pt")
    # Another process may use another number of threads, and so add up in another order.
    torch.testing.assert_close(outputs, {name: model(IMAGES) for name, model in models.items()})


class Inserted(nn.Module):
    """A model of one's own, without gates; two layers share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU()
        self.fc, self.drop, self.out = nn.Linear(6 * 64, 8), nn.Dropout(0.5), nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.out.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x)))
        return self.tied(self.out(self.drop(torch.relu(self.fc(x.flatten(1))))))


def with_gates(closed: int = 3, compacted: bool = True) -> nn.Module:
    """It with gates put in, of which some units are closed."""
    torch.manual_seed(0)
    model = Inserted()
    insert_gates_(model, IMAGES, only=["conv"])
    pruner = BernoulliPruner(model, 5.0, 100, example_inputs=IMAGES)
    for gate in pruner.gates.values():
        gate.theta.data.copy_((torch.arange(gate.num_units) >= closed).float())
    if compacted:
        assert pruner.settle_() == closed
    return model.eval()


def test_inserted_gates_leave_and_the_names_are_those_from_before() -> None:
    model = with_gates()
    plain = export(model)
    assert list(plain.state_dict()) == list(Inserted().state_dict())
    assert [name for name, _ in plain.named_modules()] == [n for n, _ in Inserted().named_modules()]
    assert torch.equal(plain(IMAGES), model(IMAGES))
    assert type(plain.get_submodule("act")) is nn.ReLU
    assert plain.get_submodule("drop").p == 0.5
    assert plain.get_parameter("out.weight") is plain.get_parameter("tied.weight")


def test_inserted_gates_that_are_closed_but_not_compacted_keep_their_effect() -> None:
    model = with_gates(compacted=False)
    plain = export(model)
    assert torch.equal(plain(IMAGES), model(IMAGES))
    assert "act.gate.mask" in plain.state_dict()


def test_a_saved_model_comes_back_in_one_that_never_had_gates(tmp_path: Path) -> None:
    model, fresh = with_gates(), Inserted()
    for each in (model, fresh):
        each.tied = nn.Linear(8, 8)
    save_model(export(model), tmp_path)
    assert torch.equal(load_model(tmp_path, fresh)(IMAGES), model(IMAGES))


def test_gates_leave_in_place_and_the_optimizer_goes_on() -> None:
    model = with_gates()
    parameters = set(model.parameters())
    assert remove_gates_(model) is model
    assert set(model.parameters()) == parameters
    assert list(model.state_dict()) == list(Inserted().state_dict())


def test_a_gate_at_two_places_leaves_both() -> None:
    gate = BernoulliGate(8, theta=1.0)
    layers = [nn.Linear(3, 8), nn.ReLU(), gate, nn.Linear(8, 8), nn.ReLU(), gate, nn.Linear(8, 2)]
    plain = export(nn.Sequential(*layers))
    found = [type(m) for _, m in plain.named_modules(remove_duplicate=False)]
    assert found.count(nn.Identity) == 2
    assert BernoulliGate not in found


def test_a_gate_on_the_last_dimension_keeps_its_effect() -> None:
    model = nn.Sequential(nn.Linear(3, 4), BernoulliGate(4, dim=-1), nn.Linear(4, 2)).eval()
    named_gates(model)["1"].theta.data.copy_(torch.tensor([1.0, 0.0, 1.0, 0.0]))
    tokens = torch.randn(2, 5, 3)
    assert torch.equal(export(model)(tokens), model(tokens))


def test_masks_of_pruning_are_refused_in_one_line() -> None:
    model = prune_(Inserted(), 50.0)
    with pytest.raises(
        ValueError, match=r"4 layers have masks .*'conv' .*make_permanent_\(model\)"
    ):
        export(model)
    assert torch.equal(export(make_permanent_(model)).eval()(IMAGES), model.eval()(IMAGES))


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_a_wrapped_model_is_unwrapped(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = with_gates()
    for unwrap in (export, remove_gates_):
        plain = unwrap(wrap(model))
        assert type(plain) is Inserted
        assert list(plain.state_dict()) == list(Inserted().state_dict())


def test_a_distributed_model_is_unwrapped(tmp_path: Path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        plain = export(nn.parallel.DistributedDataParallel(with_gates()))
    finally:
        torch.distributed.destroy_process_group()
    assert type(plain) is Inserted


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_it_can_be_quantised_dynamically() -> None:
    plain = export(with_gates())
    small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {nn.Linear})
    assert type(small.get_submodule("fc")) is not nn.Linear
    torch.testing.assert_close(small(IMAGES), plain(IMAGES), atol=0.05, rtol=0)


@pytest.mark.slow
def test_onnxruntime_computes_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    plain, batch = export(with_gates()), torch.export.Dim("batch")
    torch.onnx.export(
        plain,
        (IMAGES,),
        tmp_path / "model.onnx",
        input_names=["images"],
        dynamic_shapes=({0: batch},),
        verbose=False,
    )
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    more = torch.rand(9, 1, 28, 28)
    (found,) = session.run(None, {"images": more.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), plain(more), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["LeNet-300-100", "stranger"])
def test_it_can_be_traced_by_torch_export(name: str) -> None:
    model = settled(name)
    program = torch.export.export(export(model), (IMAGES,))
    torch.testing.assert_close(program.module()(IMAGES), model(IMAGES))
    model = with_gates()
    program = torch.export.export(export(model), (IMAGES,))
    torch.testing.assert_close(program.module()(IMAGES), model(IMAGES))


@pytest.mark.parametrize("theta", [0.4, 0.999])
def test_unsettled_gates_are_refused(theta: float) -> None:
    model = settled("LeNet-300-100")
    named_gates(model)["gate2"].theta.data[:2] = theta
    with pytest.raises(ValueError, match=r"gate 'gate2' has 2 units .*pruner\.settle_"):
        export(model)


def same(first: nn.Module, second: nn.Module) -> bool:
    """Equal to the bit, parameter by parameter and buffer by buffer."""
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    ("name", "known_as", "options"),
    [
        ("LeNet-300-100", "lenet-300-100", {"hidden": [30, 20], "gate_inputs": True}),
        ("LeNet-5", "lenet-5", {"filters": [5, 8], "hidden": 20, "gate_features": True}),
    ],
)
def test_a_saved_model_comes_back_to_the_bit(
    name: str, known_as: str, options: dict[str, object], tmp_path: Path
) -> None:
    plain = export(settled(name))
    save_model(plain, tmp_path, name=known_as, **options)
    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS_FILE, DESCRIPTION_FILE}
    loaded = load_model(tmp_path)
    assert same(loaded, plain)
    assert torch.equal(loaded(IMAGES), plain(IMAGES))
    assert architecture(loaded) == architecture(plain)
    assert not loaded.training
    layers = dict(loaded.named_modules())
    for path, layer in plain.named_modules():
        assert repr(layers[path]) == repr(layer)


def test_a_strangers_model_comes_back_to_the_bit(tmp_path: Path) -> None:
    plain = export(settled("stranger"))
    save_model(plain, tmp_path)
    fresh = Residual()
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    loaded = load_model(tmp_path, fresh)
    assert same(loaded, plain)
    assert torch.equal(loaded(IMAGES), plain(IMAGES))
    assert all(torch.equal(value, before[key]) for key, value in fresh.state_dict().items())


class Tied(nn.Module):
    """Layers at both ends that share a weight, and two in the middle whose units leave together."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left, self.right = nn.Linear(3, 3), nn.Linear(3, 8), nn.Linear(3, 8)
        self.left_gate, self.right_gate = BernoulliGate(8, theta=1.0), BernoulliGate(8, theta=1.0)
        self.back, self.last = nn.Linear(8, 3), nn.Linear(3, 3)
        self.last.weight, self.right.weight = self.first.weight, self.left.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        both = self.left_gate(self.left(x).relu()) + self.right_gate(self.right(x).tanh())
        return self.last(self.back(both))


def test_weights_that_are_tied_come_back_tied(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs = Tied().eval(), torch.randn(4, 3)
    dead = torch.arange(8) < 3
    assert compact_(model, {"left_gate": dead, "right_gate": dead}, inputs) == 6
    plain = export(model)
    save_model(plain, tmp_path)
    assert (tmp_path / WEIGHTS_FILE).stat().st_size == count_bytes(plain)
    loaded = load_model(tmp_path, Tied())
    assert torch.equal(loaded(inputs), model(inputs))
    parameters = dict(loaded.named_parameters(remove_duplicate=False))
    assert parameters["last.weight"] is parameters["first.weight"]
    assert parameters["right.weight"] is parameters["left.weight"]
    assert parameters["left.weight"].shape == (5, 3)


def test_an_unpruned_model_comes_back_to_the_bit(tmp_path: Path) -> None:
    plain = lenet_5(gated=False)
    save_model(plain, tmp_path, name="lenet-5", gated=False)
    assert same(load_model(tmp_path), plain)


def test_saving_again_replaces_both_files(tmp_path: Path) -> None:
    first, second = lenet_300_100((4, 3), gated=False), lenet_300_100((6, 2), gated=False)
    for model, hidden in ((first, [4, 3]), (second, [6, 2])):
        save_model(model, tmp_path, name="lenet-300-100", hidden=hidden, gated=False)
    assert same(load_model(tmp_path), second)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = lenet_300_100((4, 3), gated=False)
    save_model(model, tmp_path, name="lenet-300-100", hidden=[4, 3], gated=False)
    return tmp_path


def description(**changes: object) -> bytes:
    good = {"model": "lenet-300-100", "options": {"hidden": [4, 3], "gated": False}, "sizes": {}}
    return json.dumps(good | changes).encode()


DAMAGE: dict[str, tuple[str, bytes]] = {
    "empty description": (DESCRIPTION_FILE, b""),
    "not text": (DESCRIPTION_FILE, b"\xff\xfe\x00"),
    "half a description": (DESCRIPTION_FILE, description()[:30]),
    "a list": (DESCRIPTION_FILE, b"[]"),
    "nothing in it": (DESCRIPTION_FILE, b"{}"),
    "an unknown model": (DESCRIPTION_FILE, description(model="vgg")),
    "an unknown option": (DESCRIPTION_FILE, description(options={"depth": 3})),
    "an unknown layer": (DESCRIPTION_FILE, description(sizes={"fc9": {"in_features": 3}})),
    "another model": (DESCRIPTION_FILE, description(model="lenet-5", options={})),
    "empty weights": (WEIGHTS_FILE, b""),
    "garbage for weights": (WEIGHTS_FILE, b"\x10" * 200),
}


@pytest.mark.parametrize("what", list(DAMAGE))
def test_damaged_files_are_an_error_of_one_line(saved: Path, what: str) -> None:
    name, content = DAMAGE[what]
    (saved / name).write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)


MISFITS: dict[str, Callable[[dict[str, Any], dict[str, Tensor]], object]] = {
    "a layer of code": lambda d, t: d.update(sizes={"fc1": {"forward": 1}}),
    "a size of text": lambda d, t: d.update(sizes={"fc1": {"in_features": "x"}}),
    "a size of nothing": lambda d, t: d.update(sizes={"fc1": {"in_features": 0}}),
    "a size that is true": lambda d, t: d.update(sizes={"fc3": {"out_features": True}}),
    "a size that grew": lambda d, t: d.update(sizes={"fc1": {"in_features": 785}}),
    "sizes of other weights": lambda d, t: d.update(sizes={"fc1": {"in_features": 700}}),
    "sizes that are a list": lambda d, t: d.update(sizes=[["fc1", 3]]),
    "an option that is none": lambda d, t: d["options"].update(speed=3),
    "an option of text": lambda d, t: d["options"].update(gated="no"),
    "layers of text": lambda d, t: d["options"].update(hidden="43"),
    "layers of floats": lambda d, t: d["options"].update(hidden=[4.0, 3.0]),
    "layers of nothing": lambda d, t: d["options"].update(hidden=[4, 0]),
    "layers that no memory holds": lambda d, t: d["options"].update(hidden=[10**6, 10**6]),
    "more layers than weights": lambda d, t: d["options"].update(hidden=[2] * 100_000),
    "a million layers": lambda d, t: d["options"].update(hidden=[2] * 1_000_000),
    "other classes": lambda d, t: d["options"].update(num_classes=9),
    "a model that is a list": lambda d, t: d.update(model=["lenet-5"]),
    "options that are a list": lambda d, t: d.update(options=[1]),
    "weights the other way round": lambda d, t: t.update({"fc1.weight": t["fc1.weight"].T}),
    "a row too few": lambda d, t: t.update({"fc2.weight": t["fc2.weight"][:2]}),
    "a column too few": lambda d, t: t.update({"fc2.weight": t["fc2.weight"][:, :3]}),
    "weights in space": lambda d, t: t.update({"fc1.weight": t["fc1.weight"][..., None]}),
    "a long bias": lambda d, t: t.update({"fc1.bias": torch.zeros(5)}),
    "no outputs": lambda d, t: t.update({"fc3.weight": t["fc3.weight"][:0]}),
    "fewer outputs": lambda d, t: (
        t.update({"fc3.weight": t["fc3.weight"][:7], "fc3.bias": t["fc3.bias"][:7]}),
        d.update(sizes={"fc3": {"out_features": 7}}),
    ),
    "a layer that reads less than is there": lambda d, t: (
        t.update({"fc2.weight": t["fc2.weight"][:, :2]}),
        d.update(sizes={"fc2": {"in_features": 2}}),
    ),
}


@pytest.mark.parametrize("what", MISFITS)
def test_layers_that_do_not_fit_together_are_refused_before_they_take_memory(
    saved: Path, what: str
) -> None:
    told = json.loads((saved / DESCRIPTION_FILE).read_text())
    tensors = load_file(saved / WEIGHTS_FILE)
    load_model(saved)
    MISFITS[what](told, tensors)
    (saved / DESCRIPTION_FILE).write_text(json.dumps(told))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, saved / WEIGHTS_FILE)
    started = time.process_time()
    with pytest.raises(ModelFileError) as caught:
        load_model(saved)
    assert time.process_time() - started < 2
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_a_network_was_before_pruning_takes_no_memory(saved: Path) -> None:
    """Here it would be 640 GB."""
    told = json.loads((saved / DESCRIPTION_FILE).read_text())
    told["options"] = {"hidden": [400_000, 400_000]}
    (saved / DESCRIPTION_FILE).write_text(json.dumps(told))
    assert architecture(load_model(saved)) == [784, 4, 3]


@pytest.mark.parametrize("index", [784, -1])
def test_pixels_that_no_image_has_are_refused(index: int, tmp_path: Path) -> None:
    save_model(export(settled("LeNet-300-100")), tmp_path, name="lenet-300-100",
               hidden=[30, 20], gate_inputs=True)  # fmt: skip
    tensors = load_file(tmp_path / WEIGHTS_FILE)
    tensors["gate0.index"][0] = index
    save_file(tensors, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ModelFileError, match="damaged model files"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DESCRIPTION_FILE])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(saved: Path, name: str) -> None:
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(ModelFileError, match=f"{name}: Not a regular file"):
        load_model(saved)


def test_a_strangers_sizes_set_what_the_model_has_and_nothing_else(tmp_path: Path) -> None:
    save_model(export(settled("stranger")), tmp_path)
    told = json.loads((tmp_path / DESCRIPTION_FILE).read_text())
    told["sizes"]["stem"]["evil"] = 3
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps(told))
    with pytest.raises(ModelFileError, match=r"stem\.evil is 3; no such size was expected"):
        load_model(tmp_path, Residual())


def test_loading_draws_nothing_at_random(saved: Path) -> None:
    before = torch.get_rng_state()
    load_model(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_truncated_weights_are_an_error_that_says_what_to_do(saved: Path) -> None:
    weights = saved / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(ModelFileError, match=r"damaged model files .*; train or copy"):
        load_model(saved)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DESCRIPTION_FILE])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ModelFileError, match=rf"{name}: No such file.*pruning-core train'"):
        load_model(saved)


def test_a_strangers_model_needs_an_instance(tmp_path: Path) -> None:
    save_model(export(settled("stranger")), tmp_path)
    with pytest.raises(ModelFileError, match="pass a fresh instance of it as model"):
        load_model(tmp_path)
    with pytest.raises(ModelFileError, match="is another one: missing"):
        load_model(tmp_path, lenet_5())


def test_the_description_is_plain_json(tmp_path: Path) -> None:
    save_model(export(settled("LeNet-300-100")), tmp_path, name="lenet-300-100", gate_inputs=True)
    content = json.loads((tmp_path / DESCRIPTION_FILE).read_text(encoding="utf8"))
    assert content["model"] == "lenet-300-100"
    assert content["options"] == {"gate_inputs": True}
    layer = dict(export(settled("LeNet-300-100")).named_modules())["fc1"]
    assert isinstance(layer, nn.Linear)
    assert content["sizes"]["fc1"] == {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
    }


def test_selected_features_survive_the_export_of_an_input_gate() -> None:
    gate = named_gates(model := settled("LeNet-300-100"))["gate0"]
    assert isinstance(gate, InputGate)
    plain = dict(export(model).named_modules())["gate0"]
    features = IMAGES.flatten(1)
    assert torch.equal(plain(features), features[:, gate.selected])
