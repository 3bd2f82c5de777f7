"""Tests of pruning_core.lightning: the callback trains as a loop of one's own does."""

import importlib
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.export import export
from pruning_core.extras import MissingExtraError
from pruning_core.gates import named_gates
from pruning_core.insertion import insert_gates_

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] + X[:, 1] > 0).long()


def test_without_lightning_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "pruning_core.lightning", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'pruning-core\[lightning\]' brings"):
        importlib.import_module("pruning_core.lightning")


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 2))
    insert_gates_(net, X[:4])
    return net


def fit(folder: Path, plugins: list[Any] | None = None, **options: Any) -> tuple[Any, Any]:
    """Train by the trainer; the module and the callback."""
    lightning = pytest.importorskip("lightning.pytorch")
    from pruning_core.lightning import PruningCallback

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)

    module = Classifier()
    callback = PruningCallback(
        6.0, network="net", theta_step=1 / 10, smoothing=0.5, total_steps=None
    )
    trainer = lightning.Trainer(
        max_epochs=8,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[callback],
        plugins=plugins,
        **options,
    )
    torch.manual_seed(1)
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=16))
    return module, callback


@pytest.mark.filterwarnings("default")
def test_with_a_gradient_scaler_theta_takes_the_same_way(tmp_path: Path) -> None:
    precision = pytest.importorskip("lightning.pytorch.plugins.precision")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)

    class Scaled(precision.MixedPrecision):
        def forward_context(self) -> Any:  # in float32, so that only the scale differs
            return nullcontext()

    module, _ = fit(tmp_path, plugins=[Scaled("16-mixed", "cpu", scaler)])
    expected = by_hand(1).state_dict()
    for key, value in module.net.state_dict().items():
        torch.testing.assert_close(value, expected[key], msg=key)


def by_hand(accumulate: int) -> nn.Module:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    pruner = BernoulliPruner(net, 6.0, 96, theta_step=1 / 10, smoothing=0.5)
    torch.manual_seed(1)
    for _ in range(8):
        for number, (x, y) in enumerate(DataLoader(TensorDataset(X, Y), batch_size=16), 1):
            ((F.cross_entropy(net(x), y) + pruner.penalty()) / accumulate).backward()
            if number % accumulate == 0:
                optimizer.step()
                pruner.step()
                optimizer.zero_grad()
        pruner.compact_(optimizer)
    pruner.settle_(optimizer)
    return net


@pytest.mark.filterwarnings("default")  # Lightning calls what torch deprecates
@pytest.mark.parametrize("accumulate", [1, 3])
def test_it_trains_and_removes_as_a_loop_of_ones_own_does(accumulate: int, tmp_path: Path) -> None:
    module, callback = fit(tmp_path, accumulate_grad_batches=accumulate)
    expected = by_hand(accumulate)
    (gate,) = named_gates(expected).values()
    assert 0 < gate.num_units < 24
    assert callback.pruner.is_settled
    found = module.net.state_dict()
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(found[key], value, msg=key)
    assert list(export(module.net).state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
