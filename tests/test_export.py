"""Tests of pruning_core.export: the end product needs nothing of pruning_core."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.checkpoints import ModelFileError
from pruning_core.export import DESCRIPTION_FILE, WEIGHTS_FILE, export, load_model, save_model
from pruning_core.gates import BernoulliGate, InputGate, named_gates
from pruning_core.metrics import architecture
from pruning_core.models import lenet_5, lenet_300_100

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


@pytest.mark.parametrize("name", ["LeNet-300-100", "stranger"])
def test_it_can_be_traced_by_torch_export(name: str) -> None:
    model = settled(name)
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
