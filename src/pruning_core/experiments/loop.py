"""One bare training loop, whose checkpoints resume bit-exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import nn

from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.data import Dataset, batches
from pruning_core.experiments.methods import METHODS, Survivors
from pruning_core.experiments.provenance import device_name, versions
from pruning_core.experiments.run import CHECKPOINT_FORMAT, Phase, Run, TrainingError, plain
from pruning_core.experiments.settings import OF_SURVIVORS, Settings, is_gated
from pruning_core.export import export, settled_like
from pruning_core.metrics import count_macs, count_nonzero_weights, error_percent
from pruning_core.models import MODELS
from pruning_core.resizing import layer_sizes, resize_


class Trainer(Run):
    """A run with its loop: settings and data in, a trained model, a trajectory and a summary out.

    The settings' seed alone decides what is drawn. Building one leaves torch's global generators as
    they were; :meth:`fit` sets them to where the run is, and leaves them at its end.

    Args:
        settings: of the run.
        dataset: on the device to train on.
        callbacks: what looks at it; what they draw at the end of an epoch changes nothing.

    Raises:
        TrainingError: if the images do not fit the model, or the model not the memory.
        ValueError: if the settings do not fit the model.
    """

    def __init__(
        self, settings: Settings, dataset: Dataset, callbacks: Sequence[Callback] = ()
    ) -> None:
        self.callbacks = callbacks
        self._cuda = [dataset.train_images.device] if dataset.train_images.is_cuda else []
        with torch.random.fork_rng(devices=self._cuda), _enough_memory(settings):
            torch.manual_seed(settings.seed)
            super().__init__(settings, dataset)
            self.method = METHODS[settings.method]()
            self.method.start(self)
            self.optimizer = self.fresh_optimizer()
            self.random = self.generators()

    def fit(self) -> nn.Module:
        """Train to the last epoch; returns the plain network, without gates.

        Raises:
            TrainingError: if the loss or the penalty becomes NaN or infinite, or memory does not
                suffice. The checkpoint of the last good epoch stays.
        """
        for callback in self.callbacks:
            callback.on_train_start(self)
        while self.epoch < self.settings.total_epochs:
            self.set_generators()
            with _enough_memory(self.settings):
                if self.epoch == self.settings.epochs:
                    self._turn_to_survivors()
                self.growth = self.method.growth(self)
                self.method.before_epoch(self)
                started = time.perf_counter()
                loss = self._train_epoch()
                self.method.after_epoch(self)
                self._drop_denormals_()
                seconds = time.perf_counter() - started
                record = self._record(loss, seconds)
            self.epoch += 1
            self.trajectory.append(record)
            self.random = self.generators()
            for callback in self.callbacks:
                callback.on_epoch_end(self)
        self.set_generators()
        for callback in self.callbacks:
            callback.on_train_end(self)
        return export(self.model).eval()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` returned, also where units have partly left.

        Up to the last of ``settings.epochs``, what the settings say of later ones may differ.

        Raises:
            TrainingError: if it is of another format, or of another run, listing what differs:
                settings, data or the number of threads. A checkpoint that contradicts itself
                raises whatever comes of it.
        """
        if state.get("format") != CHECKPOINT_FORMAT:
            raise TrainingError("the checkpoint is not of this version of pruning-core")
        own = self.state_dict()
        for key, value in own.items():
            if type(state[key]) is not type(value):
                raise TypeError(f"{key} is a {type(state[key]).__name__}")
        still_to_come = OF_SURVIVORS if state["epoch"] <= self.settings.epochs else ()
        mine, saved = (_told_apart(each, still_to_come) for each in (own, state))
        differing = [key for key in mine if saved.get(key) != mine[key]]
        if differing:
            listed = ", ".join(f"{k} {saved.get(k)!r} there, {mine[k]!r} here" for k in differing)
            raise TrainingError(f"the checkpoint is of another run: {listed}")
        self.epoch, self.step, self.phase = state["epoch"], state["step"], state["phase"]
        self.trajectory, self.findings = state["trajectory"], state["findings"]
        epochs = self.settings.total_epochs
        if not 0 <= self.epoch <= epochs or len(self.trajectory) != self.epoch:
            raise ValueError(f"epoch {self.epoch} of {epochs}")
        gated = is_gated(self.settings.method)
        if self.phase not in (get_args(Phase) if gated else ("settled",)):
            raise ValueError(f"phase {self.phase} of {self.settings.method}")
        if self.step != self.epoch * self.steps_per_epoch:
            raise ValueError(f"step {self.step} after {self.epoch} epochs")
        if not all(
            isinstance(r["seconds"] + r["test_error_percent"], float) for r in self.trajectory
        ):
            raise TypeError("its trajectory is not of numbers")
        self.random = state["random"]
        with torch.random.fork_rng(devices=self._cuda), _enough_memory(self.settings):
            self._rebuild(state["model"], state["sizes"])
            if self.epoch > self.settings.epochs:
                self._turn_to_survivors()
            else:
                self.method.start(self)
            with torch.no_grad():
                for parameter, value in zip(self.auxiliary, state["auxiliary"], strict=True):
                    parameter.copy_(value)
            self.optimizer = self.fresh_optimizer()
            self.optimizer.load_state_dict(state["optimizer"])
            self.set_generators()  # for this block only, to see that they take it

    def summary(self) -> dict[str, Any]:
        """The result of a finished run, as ``summary.json`` holds it."""
        known, settings = MODELS[self.settings.model], self.settings
        units, classes = known.dense(settings.hidden, settings.sections), self.dataset.num_classes
        pruned = export(self.model)
        last = self.trajectory[-1]
        return {
            "model": self.settings.model,
            "method": self.settings.method,
            "dataset": self.dataset.name,
            "split": self.dataset.split,
            "settings": plain(self.settings),
            "seed": self.settings.seed,
            "epochs": self.epoch,
            "num_classes": classes,
            "architecture": self._architecture(),
            "architecture_dense": list(units),
            "weights_kept": count_nonzero_weights(pruned),
            "weights_total": known.count_weights(units, classes),
            "macs": count_macs(pruned, self.dataset.train_images[:1]),
            "macs_dense": known.count_macs(units, classes),
            "test_error_percent": last["test_error_percent"],
            "best_test_error_percent": min(r["test_error_percent"] for r in self.trajectory),
            **self.findings,
            "seconds": sum(r["seconds"] for r in self.trajectory),
            "seconds_per_epoch": [round(r["seconds"], 4) for r in self.trajectory],
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }

    def _turn_to_survivors(self) -> None:
        """From here on nothing leaves, and what is left is trained anew from where it is."""
        # Without what a method has hung into it, and with parameters in their usual order.
        self._rebuild(self.model.state_dict(), layer_sizes(self.model))
        self.method, self.auxiliary = Survivors(), []
        self.optimizer = self.fresh_optimizer()

    def _rebuild(self, state: dict[str, Any], sizes: dict[str, Any]) -> None:
        """Give the model this state; once settled it is made anew. Nothing is drawn."""
        if self.phase == "settled":
            with torch.random.fork_rng(devices=self._cuda):
                fresh = self.fresh_model()
            self.model = settled_like(fresh, state) if is_gated(self.settings.method) else fresh
        resize_(self.model, state, sizes)
        self.model.to(memory_format=torch.channels_last)
        self.model.load_state_dict(state)

    def _train_epoch(self) -> float:
        """One pass over the training set; returns the mean loss in nats per example."""
        images, labels = self.dataset.train_images, self.dataset.train_labels
        size = self.growth * self.settings.batch_size
        total = torch.zeros((), device=self.device)
        self.model.train()
        for index in batches(len(labels), size, device=self.device):
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate()
            self.method.before_step(self)
            self.optimizer.zero_grad()
            loss = self.method.backward(
                self, images.index_select(0, index), labels.index_select(0, index)
            )
            self.optimizer.step()
            self.method.after_step(self)
            self.step += self.growth
            total += loss * len(index)
            for callback in self.callbacks:
                callback.on_step_end(self)
        self.step = (self.epoch + 1) * self.steps_per_epoch  # the last of them may be small
        mean = float(total) / len(labels)
        self._demand_finite("loss", mean)
        return mean

    def _demand_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            last = f". The last good checkpoint is that of epoch {self.epoch}" if self.epoch else ""
            raise TrainingError(
                f"the {what} became {value} in epoch {self.epoch + 1}; lower --learning-rate "
                f"(now {self.settings.learning_rate}), or what else is far from its "
                f"recommended value{last}"
            )

    @torch.no_grad()
    def _drop_denormals_(self) -> None:
        """Numbers too small to be normal become zero: some processors compute slowly with them.

        Weights that decay without use get there, and the averages of gradients that stay away.
        """
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        averages = [v for state in self.optimizer.state.values() for v in state.values()]
        for tensor in (*trained, *filter(torch.is_tensor, averages)):
            tensor.copy_(F.hardshrink(tensor, torch.finfo(tensor.dtype).tiny))

    def _architecture(self) -> list[int]:
        known = MODELS[self.settings.model]
        return known.read(self.model, self.settings.sections or known.sections)

    def _learning_rate(self) -> float:
        first, epochs = 0, self.settings.epochs
        if self.epoch >= epochs:
            first, epochs = epochs, self.settings.survivor_epochs
        progress = (self.step - first * self.steps_per_epoch) / (epochs * self.steps_per_epoch)
        # The noise that an epoch's steps add to the weights then stays what it was.
        grown = self.growth if self.settings.optimizer == "sgd" else math.sqrt(self.growth)
        highest = self.settings.learning_rate * grown
        return highest * 0.5 * (1 + math.cos(math.pi * progress))

    def _record(self, loss: float, seconds: float) -> dict[str, Any]:
        data, noted = self.dataset, self.method.record(self)
        self._demand_finite("penalty", noted.get("penalty", 0.0))
        return {
            "epoch": self.epoch + 1,
            "loss": loss,
            **noted,
            "architecture": self._architecture(),
            "weights_kept": count_nonzero_weights(self.model),
            "test_error_percent": error_percent(self.model, data.eval_images, data.eval_labels),
            "seconds": seconds,
        }


def _told_apart(state: dict[str, Any], without: Collection[str]) -> dict[str, Any]:
    """Of a checkpoint, what a run must share with it to continue it; but for these settings."""
    told = {key: state[key] for key in ("dataset", "split", "threads")}
    # A setting that is newer than the checkpoint is at its default.
    settings = plain(Settings()) | state["settings"]
    settings = {name: value for name, value in settings.items() if name not in without}
    return {**settings, **told, **state["data"]}


@contextmanager
def _enough_memory(settings: Settings) -> Iterator[None]:
    """Say in a line what may be too large, where memory does not suffice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        sizes = "-".join(map(str, settings.hidden or MODELS[settings.model].hidden))
        raise TrainingError(
            f"{settings.model} with hidden layers of {sizes}, in batches of {settings.batch_size}, "
            "does not fit into memory; make --hidden or --batch-size smaller"
        ) from error
