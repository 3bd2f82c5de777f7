"""The examples in the README run as they stand, on real data."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pruning_core.experiments.data import Dataset
from pruning_core.metrics import count_nonzero_weights, count_weights, error_percent

README = Path(__file__).parents[1] / "README.md"


def after(example: int, mnist: Dataset) -> dict[str, Any]:
    """The names that an example leaves behind, trained on 6,400 images."""
    code = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf8"), re.DOTALL)[example]
    torch.manual_seed(0)
    images, labels = mnist.train_images.flatten(1), mnist.train_labels
    train = labels[:6400]
    batches = [(images[i : i + 64], labels[i : i + 64]) for i in range(0, len(train), 64)]
    scope = {"torch": torch, "nn": nn, "F": F, "train": train, "batches": batches}
    exec(code, scope)
    return scope


def test_the_first_example_removes_units(mnist: Dataset) -> None:
    small = after(0, mnist)["small"]
    assert isinstance(small, nn.Module)
    width = small.get_submodule("0").get_parameter("weight").shape[0]
    assert 1 <= width < 300
    assert error_percent(small, mnist.eval_images.flatten(1), mnist.eval_labels) < 15


@pytest.mark.slow
def test_the_second_example_removes_weights(mnist: Dataset) -> None:
    model = after(1, mnist)["model"]
    assert isinstance(model, nn.Module)
    assert count_nonzero_weights(model) < 0.1 * count_weights(model)
    assert error_percent(model, mnist.eval_images.flatten(1), mnist.eval_labels) < 15
