"""The chapter on a network of one's own: what is minimised, and that removal changes nothing."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from pruning_core import BernoulliGate, BernoulliPruner, compact_, export, insert_gates_
from pruning_core.gates import named_gates


class Branched(nn.Module):
    """A convolution, a branch that is added to it, and a linear layer; gates on both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_gate = nn.Conv2d(1, 6, 3), BernoulliGate(6)
        self.branch, self.branch_gate = nn.Conv2d(6, 6, 3, padding=1), BernoulliGate(6)
        self.out = nn.Linear(6 * 36, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem_gate(F.relu(self.stem(images)))
        x = x + self.branch_gate(F.relu(self.branch(x)))
        return self.out(x.flatten(1))


def test_eq_own_loss() -> None:
    """N times the loss of a loop with all gates at 1, added up example by example."""
    torch.manual_seed(0)
    model, images, labels = Branched().eval(), torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    pruner = BernoulliPruner(model, log_gamma=7.0, num_examples=12)
    for gate in named_gates(model).values():
        gate.theta.data.fill_(1.0)
    with torch.no_grad():
        loss = F.cross_entropy(model(images), labels) + pruner.penalty()
        probabilities = model(images).softmax(1)
    likelihood = sum(float(p[y].log()) for p, y in zip(probabilities, labels, strict=True))
    assert 12 * float(loss) == pytest.approx(-likelihood + 7.0 * 12, rel=1e-5)


def test_prop_own_exact() -> None:
    """The weights that read silent channels are set at random, and then removed."""
    torch.manual_seed(0)
    model, images = Branched().double().eval(), torch.rand(5, 1, 8, 8, dtype=torch.float64)
    for gate in named_gates(model).values():
        gate.theta.data = torch.tensor([1.0, 0, 1, 0, 0, 1], dtype=torch.float64).requires_grad_()
    before = model(images)
    silent = torch.tensor([1, 3, 4])
    with torch.no_grad():
        model.out.weight.view(3, 6, 36)[:, silent] = torch.randn(3, 3, 36, dtype=torch.float64)
        model.branch.weight[:, silent] = torch.randn(6, 3, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(model(images), before)
    dead = {name: gate.theta == 0 for name, gate in named_gates(model).items()}
    assert compact_(model, dead, images) == 6
    assert model.out.in_features == 3 * 36
    torch.testing.assert_close(model(images), before)


def test_the_chapters_network_loses_units_and_keeps_its_function_and_its_names() -> None:
    """The filters that read silent channels are set at random here too."""
    torch.manual_seed(0)
    model = ResNet(BasicBlock, [1, 1, 1, 1]).double()
    names, images = set(model.state_dict()), torch.rand(5, 3, 28, 28, dtype=torch.float64)
    dead = {}
    for place in insert_gates_(model, images):
        gate = named_gates(model)[place.gate]
        dead[place.gate] = torch.arange(place.units) % 3 == 0
        gate.theta.data = (~dead[place.gate]).float()
        reader = model.get_submodule(place.layer.replace("conv1", "conv2"))
        with torch.no_grad():
            kernel = reader.get_parameter("weight")
            kernel[:, dead[place.gate]] = torch.randn_like(kernel[:, dead[place.gate]])
    before = model.eval()(images)
    assert len(dead) == 4
    assert compact_(model, dead, images) == sum(int(mask.sum()) for mask in dead.values())
    small = export(model)
    assert set(small.state_dict()) == names
    torch.testing.assert_close(small(images), before)
