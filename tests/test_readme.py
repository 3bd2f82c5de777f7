"""The example in the README runs as it stands, on real data."""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from pruning_core.data import load

README = Path(__file__).parents[1] / "README.md"


def test_the_example_prunes_a_network() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf8"), re.DOTALL)
    torch.manual_seed(0)
    mnist = load("mnist")
    images, labels = mnist.train_images.flatten(1), mnist.train_labels
    train = labels[:6400]
    batches = [(images[i : i + 64], labels[i : i + 64]) for i in range(0, len(train), 64)]
    scope = {"torch": torch, "nn": nn, "F": F, "train": train, "batches": batches}
    exec(code, scope)
    small = scope["small"]
    assert isinstance(small, nn.Module)
    width = small.get_submodule("0").get_parameter("weight").shape[0]
    assert 1 <= width < 300
    wrong = small(mnist.eval_images.flatten(1)).argmax(1) != mnist.eval_labels
    assert wrong.float().mean() < 0.15
