"""A run: the network, its optimizer, and how far it is; what methods and callbacks read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pruning_core.experiments.data import Dataset
from pruning_core.experiments.settings import Settings, is_gated, reads
from pruning_core.models import MODELS, build_model, initialise_
from pruning_core.resizing import layer_sizes

CHECKPOINT_FORMAT = "pruning-core checkpoint 2"

Phase = Literal["pruning", "settled"]
"""Whether units may still leave, or the gates are out and what is left trains on."""


class TrainingError(RuntimeError):
    """Training cannot start or go on; one line says what is wrong and what to do."""


class Run:
    """One training run of one method; its weights are drawn from torch's global generator.

    Attributes:
        settings: of the run.
        dataset: what it trains on, on the device it trains on.
        device: that device.
        model: the network as it is now.
        auxiliary: parameters that the optimizer trains beside the model's, such as HALO's λ; the
            method sets them when it starts.
        optimizer: of the model's and the auxiliary parameters.
        steps_per_epoch: optimizer steps in an epoch.
        step: optimizer steps completed, one with k times as many examples counted as k.
        growth: by which factor batches are larger than at first.
        epoch: epochs completed.
        phase: "pruning" while units may leave, "settled" once the gates are out of the model; a run
            of a method without gates is settled from the start.
        trajectory: a record per completed epoch.
        findings: what the method notes for the summary.
        random: states of torch's generators, by device type, where training is to go on.

    Raises:
        TrainingError: if the images do not fit the model.
    """

    def __init__(self, settings: Settings, dataset: Dataset) -> None:
        self.settings, self.dataset = settings, dataset
        self.device = dataset.train_images.device
        self.steps_per_epoch = -(-len(dataset.train_labels) // settings.batch_size)
        self.step = self.epoch = 0
        self.growth = 1
        self.phase: Phase = "pruning" if is_gated(settings.method) else "settled"
        self.trajectory: list[dict[str, Any]] = []
        self.findings: dict[str, Any] = {}
        self.model: nn.Module = self.fresh_model()
        initialise_(self.model, settings.initialisation, settings.initial_scale)
        self.auxiliary: list[nn.Parameter] = []
        self.optimizer = self.fresh_optimizer()
        self.random = self.generators()

    def state_dict(self) -> dict[str, Any]:
        """All that the run needs to go on; tensors, numbers and text only."""
        return {
            "format": CHECKPOINT_FORMAT,
            "settings": plain(self.settings),
            "dataset": self.dataset.name,
            "split": self.dataset.split,
            "data": self.dataset.identity,
            "threads": torch.get_num_threads(),
            "epoch": self.epoch,
            "step": self.step,
            "phase": self.phase,
            "trajectory": self.trajectory,
            "findings": self.findings,
            "sizes": layer_sizes(self.model),
            "model": self.model.state_dict(),
            "auxiliary": [p.detach() for p in self.auxiliary],
            "optimizer": self.optimizer.state_dict(),
            "random": self.random,
        }

    def generators(self) -> dict[str, Tensor]:
        """States of torch's generators as they are now."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def set_generators(self) -> None:
        """Give torch's generators the states from which training is to go on."""
        torch.set_rng_state(self.random["cpu"].cpu())
        if self.device.type == "cuda" and "cuda" in self.random:
            torch.cuda.set_rng_state(self.random["cuda"].cpu(), self.device)

    def model_options(self, *, gated: bool | None = None) -> dict[str, Any]:
        """Keyword arguments of the model's builder; with the gates of the method by default."""
        options = self.settings.model_options(gated=gated)
        return options | {"num_classes": self.dataset.num_classes}

    def fresh_model(self) -> nn.Module:
        """The model as it is before training, on the device of the data."""
        shape, expected = tuple(self.dataset.train_images.shape[1:]), MODELS[self.settings.model]
        if shape != expected.image:
            raise TrainingError(
                f"{self.settings.model} reads images of shape {expected.image}, but "
                f"{self.dataset.name} has {shape}; use a data set of that size"
            )
        options = self.model_options()
        if "theta" in reads(self.settings.method):
            options["theta"] = self.settings.theta
        # On a CPU, convolutions and pooling take two thirds of the time in this memory format.
        model = build_model(self.settings.model, **options).to(self.device)
        return model.to(memory_format=torch.channels_last)

    def fresh_optimizer(self) -> torch.optim.Optimizer:
        """An optimizer, without memory, of the model's and the auxiliary parameters."""
        # λ is in nats over the training set, the loss in nats per example.
        decay = self.settings.weight_decay / len(self.dataset.train_labels)
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.parameters()), "weight_decay": decay}
        ]
        if self.auxiliary:
            groups.append({"params": self.auxiliary})
        rate = self.settings.learning_rate
        if self.settings.optimizer == "sgd":
            return torch.optim.SGD(groups, rate, momentum=0.9, fused=True)
        return torch.optim.Adam(groups, rate, fused=True)

    def weight_step(self) -> float:
        """How far a constant gradient of 1 moves a weight in one step, once momentum has built."""
        weights = self.optimizer.param_groups[0]
        return weights["lr"] / (1 - weights.get("momentum", 0.0))


def plain(settings: Settings) -> dict[str, Any]:
    """As JSON would give them back: tuples are lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
