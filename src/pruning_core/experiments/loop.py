"""One bare training loop, whose checkpoints resume bit-exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pruning_core.checkpoints import layer_sizes, resize_
from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.data import Dataset, batches
from pruning_core.experiments.methods import METHODS
from pruning_core.experiments.provenance import device_name, versions
from pruning_core.experiments.settings import Settings
from pruning_core.export import export, settled_like
from pruning_core.metrics import (
    architecture,
    count_macs,
    count_nonzero_weights,
    count_weights,
    error_percent,
)
from pruning_core.models import IMAGE_SHAPE, build_model, initialise_

CHECKPOINT_FORMAT = "pruning-core checkpoint 2"


class TrainingError(RuntimeError):
    """Training cannot start or go on; one line says what is wrong and what to do."""


@dataclass
class Trainer:
    """A run: settings and data in, a trained model, a trajectory and a summary out.

    Attributes:
        epoch: epochs completed.
        step: optimizer steps completed.
        trajectory: a record per completed epoch.
        findings: what the method notes for the summary.
    """

    settings: Settings
    dataset: Dataset
    callbacks: Sequence[Callback] = ()
    epoch: int = 0
    step: int = 0
    trajectory: list[dict[str, Any]] = field(default_factory=list)
    findings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(self.settings.seed)
        self.device = self.dataset.train_images.device
        self.model: nn.Module = self.fresh_model()
        initialise_(self.model, self.settings.initialisation, self.settings.initial_scale)
        self.method = METHODS[self.settings.method]()
        self.steps_per_epoch = -(-len(self.dataset.train_labels) // self.settings.batch_size)
        self.method.start(self)
        self.optimizer = self.fresh_optimizer()

    def fit(self) -> nn.Module:
        """Train to the last epoch; returns the plain network, without gates.

        Raises:
            TrainingError: if the loss becomes NaN or infinite. The checkpoint of the last good
                epoch stays.
        """
        for callback in self.callbacks:
            callback.on_train_start(self)
        while self.epoch < self.settings.epochs:
            self.method.before_epoch(self)
            started = time.perf_counter()
            loss = self._train_epoch()
            self.method.after_epoch(self)
            self._drop_denormals_()
            seconds = time.perf_counter() - started
            record = self._record(loss, seconds)
            self.epoch += 1
            self.trajectory.append(record)
            for callback in self.callbacks:
                callback.on_epoch_end(self)
        for callback in self.callbacks:
            callback.on_train_end(self)
        return export(self.model).eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything :meth:`load_state_dict` needs; tensors, numbers and text only."""
        return {
            "format": CHECKPOINT_FORMAT,
            "settings": asdict(self.settings),
            "dataset": self.dataset.name,
            "split": self.dataset.split,
            "data": self.dataset.identity,
            "threads": torch.get_num_threads(),
            "epoch": self.epoch,
            "step": self.step,
            "trajectory": self.trajectory,
            "findings": self.findings,
            "sizes": layer_sizes(self.model),
            "model": self.model.state_dict(),
            "method": [p.detach() for p in self.method.parameters()],
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device)
            if self.device.type == "cuda"
            else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint, also one whose units have partly left.

        Raises:
            TrainingError: if it is of another format, or of another run, listing what differs:
                settings, data or the number of threads. A checkpoint that contradicts itself
                raises whatever comes of it.
        """
        if state.get("format") != CHECKPOINT_FORMAT:
            raise TrainingError("the checkpoint is not of this version of pruning-core")
        own = self.state_dict()
        for key, value in own.items():
            if type(state[key]) is not type(value) and key != "cuda_rng":
                raise TypeError(f"{key} is a {type(state[key]).__name__}")
        mine, saved = _told_apart(own), _told_apart(state)
        differing = [key for key in mine if saved.get(key) != mine[key]]
        if differing:
            listed = ", ".join(f"{k} {saved.get(k)!r} there, {mine[k]!r} here" for k in differing)
            raise TrainingError(f"the checkpoint is of another run: {listed}")
        self.epoch, self.step = state["epoch"], state["step"]
        self.trajectory, self.findings = state["trajectory"], state["findings"]
        if not 0 < self.epoch <= self.settings.epochs or len(self.trajectory) != self.epoch:
            raise ValueError(f"epoch {self.epoch} of {self.settings.epochs}")
        if self.step != self.epoch * self.steps_per_epoch:
            raise ValueError(f"step {self.step} after {self.epoch} epochs")
        if not all(
            isinstance(r["seconds"] + r["test_error_percent"], float) for r in self.trajectory
        ):
            raise TypeError("its trajectory is not of numbers")
        if self.method.is_settled(self):
            self.model = settled_like(self.fresh_model(), state["model"])
        resize_(self.model, state["model"], state["sizes"])
        self.model.to(memory_format=torch.channels_last)
        self.model.load_state_dict(state["model"])
        self.method.start(self)
        with torch.no_grad():
            for parameter, value in zip(self.method.parameters(), state["method"], strict=True):
                parameter.copy_(value)
        self.optimizer = self.fresh_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.device)

    def fresh_model(self) -> nn.Module:
        """The model as it is before training, on the device of the data."""
        side = self.dataset.train_images.shape[1:]
        if side != IMAGE_SHAPE:
            raise TrainingError(
                f"{self.settings.model} reads images of shape {IMAGE_SHAPE}, but "
                f"{self.dataset.name} has {tuple(side)}; use a data set of that size"
            )
        options = self.settings.model_options()
        if options["gated"]:
            options["theta"] = self.settings.theta
        options["num_classes"] = self.dataset.num_classes
        # On a CPU, convolutions and pooling take two thirds of the time in this memory format.
        model = build_model(self.settings.model, **options).to(self.device)
        return model.to(memory_format=torch.channels_last)

    def fresh_optimizer(self) -> torch.optim.Optimizer:
        """An optimizer, without memory, of the model's and the method's parameters."""
        # λ is in nats over the training set, the loss in nats per example.
        decay = self.settings.weight_decay / len(self.dataset.train_labels)
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.parameters()), "weight_decay": decay}
        ]
        if self.method.parameters():
            groups.append({"params": self.method.parameters()})
        rate = self.settings.learning_rate
        if self.settings.optimizer == "sgd":
            return torch.optim.SGD(groups, rate, momentum=0.9, fused=True)
        return torch.optim.Adam(groups, rate, fused=True)

    def weight_step(self) -> float:
        """How far a constant gradient of 1 moves a weight in one step, once momentum has built."""
        weights = self.optimizer.param_groups[0]
        return weights["lr"] / (1 - weights.get("momentum", 0.0))

    def summary(self) -> dict[str, Any]:
        """The result of a finished run, as ``summary.json`` holds it."""
        options = self.settings.model_options(gated=False)
        options["num_classes"] = self.dataset.num_classes
        dense = build_model(self.settings.model, **options).to(self.device)
        example = self.dataset.train_images[:1]
        plain = export(self.model)
        last = self.trajectory[-1]
        return {
            "model": self.settings.model,
            "method": self.settings.method,
            "dataset": self.dataset.name,
            "split": self.dataset.split,
            "settings": _plain(asdict(self.settings)),
            "seed": self.settings.seed,
            "epochs": self.epoch,
            "architecture": architecture(plain),
            "architecture_dense": architecture(dense),
            "weights_kept": count_nonzero_weights(plain),
            "weights_total": count_weights(dense),
            "macs": count_macs(plain, example),
            "macs_dense": count_macs(dense, example),
            "test_error_percent": last["test_error_percent"],
            "best_test_error_percent": min(r["test_error_percent"] for r in self.trajectory),
            **self.findings,
            "seconds": sum(r["seconds"] for r in self.trajectory),
            "seconds_per_epoch": [round(r["seconds"], 4) for r in self.trajectory],
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }

    def _train_epoch(self) -> float:
        """One pass over the training set; returns the mean loss in nats per example."""
        images, labels = self.dataset.train_images, self.dataset.train_labels
        size = self.settings.batch_size
        total = torch.zeros((), device=self.device)
        self.model.train()
        for index in batches(len(labels), size, device=self.device):
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate()
            self.method.before_step(self)
            self.optimizer.zero_grad()
            loss = self.method.backward(
                self.model, images.index_select(0, index), labels.index_select(0, index)
            )
            self.optimizer.step()
            self.method.after_step(self)
            self.step += 1
            total += loss * len(index)
            for callback in self.callbacks:
                callback.on_step_end(self)
        mean = float(total) / len(labels)
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss became {mean} in epoch {self.epoch + 1}; lower --learning-rate "
                f"(now {self.settings.learning_rate}). The last good checkpoint is that of epoch "
                f"{self.epoch}"
            )
        return mean

    @torch.no_grad()
    def _drop_denormals_(self) -> None:
        """Numbers too small to be normal become zero: some processors compute slowly with them.

        Weights that decay without use get there, and the averages of gradients that stay away.
        """
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        averages = [v for state in self.optimizer.state.values() for v in state.values()]
        for tensor in (*trained, *filter(torch.is_tensor, averages)):
            tensor.copy_(F.hardshrink(tensor, torch.finfo(tensor.dtype).tiny))

    def _learning_rate(self) -> float:
        progress = self.step / (self.settings.epochs * self.steps_per_epoch)
        if self.settings.schedule == "cosine":
            return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        return self.settings.learning_rate * 0.1 ** ((progress >= 0.5) + (progress >= 0.75))

    def _record(self, loss: float, seconds: float) -> dict[str, Any]:
        data = self.dataset
        return {
            "epoch": self.epoch + 1,
            "loss": loss,
            **self.method.record(self),
            "architecture": architecture(self.model),
            "weights_kept": count_nonzero_weights(self.model),
            "test_error_percent": error_percent(self.model, data.eval_images, data.eval_labels),
            "seconds": seconds,
        }


def _told_apart(state: dict[str, Any]) -> dict[str, Any]:
    """Of a checkpoint, what a run must share with it to continue it."""
    told = {key: state[key] for key in ("dataset", "split", "threads")}
    return {**_plain(state["settings"]), **told, **state["data"]}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As JSON would give it back: tuples are lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
