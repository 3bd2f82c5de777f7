"""The examples in the README run as they stand, on real data."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pruning_core import insert_gates_, named_gates
from pruning_core.experiments.data import Dataset
from pruning_core.metrics import count_nonzero_weights, count_weights, error_percent

README = Path(__file__).parents[1] / "README.md"


def after(example: str, mnist: Dataset) -> dict[str, Any]:
    """The names left behind by the examples of a section, trained on 6,400 images."""
    section = README.read_text(encoding="utf8").split(f"# {example}\n")[1]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    torch.manual_seed(0)
    images, labels = mnist.train_images.flatten(1), mnist.train_labels
    train = labels[:6400]
    batches = [(images[i : i + 64], labels[i : i + 64]) for i in range(0, len(train), 64)]
    scope = {"torch": torch, "nn": nn, "F": F, "train": train, "batches": batches}
    scope["insert_gates_"] = insert_gates_  # imported by the first example
    exec(code, scope)
    return scope


@pytest.mark.slow
def test_the_first_example_removes_units(mnist: Dataset) -> None:
    small = after("In your own training loop", mnist)["small"]
    assert isinstance(small, nn.Module)
    width = small.get_submodule("0").get_parameter("weight").shape[0]
    assert 1 <= width < 300
    assert error_percent(small, mnist.eval_images.flatten(1), mnist.eval_labels) < 15


def test_a_network_of_torchvision_takes_gates(
    mnist: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    model = after("On any network", mnist)["model"]
    table = capsys.readouterr().out
    assert len(named_gates(model)) == 8
    assert "layer4.1.bn1.gate  layer4.1.conv1    512" in table
    assert "added to other units (a residual connection)" in table


@pytest.mark.slow
def test_the_second_example_removes_weights(mnist: Dataset) -> None:
    model = after("HALO: single weights", mnist)["model"]
    assert isinstance(model, nn.Module)
    assert count_nonzero_weights(model) < 0.1 * count_weights(model)
    assert error_percent(model, mnist.eval_images.flatten(1), mnist.eval_labels) < 15
