"""Train a network with buttons: start, pause, stop, and a figure that follows it."""

from __future__ import annotations

import copy
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ipywidgets import (
    HTML,
    BoundedIntText,
    Button,
    Checkbox,
    Dropdown,
    FloatLogSlider,
    FloatSlider,
    HBox,
    IntSlider,
    ValueWidget,
    VBox,
)
from torch import nn

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.estimators import ESTIMATORS
from pruning_core.experiments.callbacks import Callback
from pruning_core.experiments.data import Dataset, load
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.run import Run, TrainingError
from pruning_core.experiments.settings import Settings, recommended
from pruning_core.export import export, save_model
from pruning_core.figures.live import progress
from pruning_core.gates import any_gates
from pruning_core.metrics import architecture, count_weights
from pruning_core.models import MODELS
from pruning_core.studies import ROOT
from pruning_core.studies.archive import Archive
from pruning_core.studies.published import operating_points
from pruning_core.widgets.closed_forms import complaint_of, image_of
from pruning_core.widgets.columns import Columns

_STYLE = {"description_width": "14em"}
_SHOWN = {
    "bernoulli": ("log_gamma", "theta_step", "theta", "weight_decay", "estimator", "gate_inputs"),
    "halo": ("xi", "psi", "initial_coefficient"),
    "dense": ("weight_decay",),
}


class StoppedError(Exception):
    """Raised between two steps of a run that is told to stop."""


class TrainLive:
    """Controls of a run that trains in a thread of its own, so that the kernel stays free.

    Args:
        archive: of the studies with which a run is compared; the repository's by default.
        dataset: full MNIST by default.

    Attributes:
        trainer: of the last run; what it has learned stays when it is stopped.
        columns: what of its units is left.
        view: to display.
    """

    def __init__(self, archive: Archive = ROOT, dataset: Dataset | None = None) -> None:
        self.trainer: Trainer | None = None
        self.columns: Columns | None = None
        self._dataset = dataset
        self._thread: threading.Thread | None = None
        self._going, self._stopping = threading.Event(), threading.Event()
        self._points = operating_points(archive)
        self.choices: dict[str, ValueWidget] = {
            "model": Dropdown(options=list(MODELS), description="model", style=_STYLE),
            "method": Dropdown(options=list(_SHOWN), description="method", style=_STYLE),
            "seed": BoundedIntText(0, min=0, max=2**31, description="seed", style=_STYLE),
            "epochs": IntSlider(5, min=1, max=100, description="epochs", style=_STYLE),
        }
        self.controls: dict[str, Any] = {
            "log_gamma": _log("price log γ, nats", 0, 2.5),
            "theta_step": _log("step on θ", -4, -1),
            "theta": FloatSlider(0.9, min=0, max=1, description="θ at the start", style=_STYLE),
            "weight_decay": FloatSlider(
                0, min=0, max=50, description="weight decay λ, nats", style=_STYLE
            ),
            "estimator": Dropdown(options=list(ESTIMATORS), description="estimator", style=_STYLE),
            "gate_inputs": Checkbox(True, description="gates on the pixels, too", style=_STYLE),
            "xi": _log("ξ", -6, -3),
            "psi": _log("ψ", -6, -3),
            "initial_coefficient": _log("λ at the start", -1, 1),
        }
        self.start_button = Button(description="Start", button_style="primary")
        self.pause_button = Button(description="Pause", disabled=True)
        self.stop_button = Button(description="Stop", disabled=True)
        self.complaint, self.status, self.picture = HTML(), HTML(), HTML()
        self.start_button.on_click(lambda _: self.start())
        self.pause_button.on_click(lambda _: self.pause())
        self.stop_button.on_click(lambda _: self.stop())
        for name in ("model", "method", "epochs"):
            self.choices[name].observe(self._recommend, names="value")
        self._recommend()
        self.view = VBox(
            [
                *self.choices.values(),
                *self.controls.values(),
                HBox([self.start_button, self.pause_button, self.stop_button]),
                self.complaint,
                self.status,
                self.picture,
            ]
        )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    @property
    def is_running(self) -> bool:
        """Whether a run trains or pauses."""
        return self._thread is not None and self._thread.is_alive()

    def settings(self) -> Settings:
        """Those that the controls show.

        Raises:
            ValueError: naming a setting that is out of range, or does not go with the others.
        """
        model, method, seed, epochs = (choice.value for choice in self.choices.values())
        chosen: dict[str, Any] = {name: self.controls[name].value for name in shown(model, method)}
        if "log_gamma" in chosen:
            # Several gates keep the proportions of their recommended prices.
            usual = recommended(model, method).log_gamma
            chosen["log_gamma"] = tuple(chosen["log_gamma"] * price / usual[0] for price in usual)
        return recommended(model, method, seed=seed, epochs=epochs, **chosen)

    def start(self) -> None:
        """Begin a run with the settings shown, or go on with one that pauses."""
        if self.is_running:
            self._going.set()
            self._show_state("training")
            return
        try:
            trainer = Trainer(self.settings(), self.dataset)
        except (ValueError, TrainingError) as error:
            self.complaint.value = complaint_of(error)
            return
        self.complaint.value = ""
        self.trainer, self.columns = trainer, Columns(trainer.method)
        trainer.callbacks = [self.columns, _Watch(self)]
        self._going.set()
        self._stopping.clear()
        self._show_state("training")
        self._thread = threading.Thread(target=self._train, args=[trainer], daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Wait after the present step, until :meth:`start` or :meth:`stop`."""
        self._going.clear()
        self._show_state("pausing")

    def stop(self) -> None:
        """End the run after the present step; what it has learned stays."""
        self._stopping.set()
        self._going.set()
        self.wait()

    def wait(self) -> None:
        """Until the run has ended; a pause does not end it."""
        if self._thread is not None:
            self._thread.join()

    def export(self, directory: str | Path) -> nn.Module:
        """The network as it is now, each gate rounded to open or closed, also written to a folder.

        Raises:
            TrainingError: if nothing has been trained, or training goes on.
        """
        if self.trainer is None or self.is_running:
            raise TrainingError(
                "there is no trained network to export yet; start a run, or stop it"
            )
        model = copy.deepcopy(self.trainer.model)
        if any_gates(model):
            images = self.dataset.train_images[:1]
            BernoulliPruner(model, 1.0, num_examples=1, example_inputs=images).settle_()
        plain = export(model).eval()
        options = self.trainer.model_options()
        save_model(plain, Path(directory), name=self.trainer.settings.model, **options)
        return plain

    @property
    def dataset(self) -> Dataset:
        """Full MNIST, read when first asked for, if no other was given."""
        if self._dataset is None:
            self._dataset = load("mnist")
        return self._dataset

    def _recommend(self, _: object = None) -> None:
        """Show the controls of the method, at what is recommended for it, but faster in few epochs.

        θ and HALO's λ then have to go as far in fewer steps.
        """
        model, method = self.choices["model"].value, self.choices["method"].value
        usual = asdict(recommended(model, method))
        pace = usual["epochs"] / self.choices["epochs"].value
        usual |= {"theta_step": min(1.0, usual["theta_step"] * pace), "psi": usual["psi"] * pace}
        usual["gate_inputs"] = True  # for the picture of the pixels
        for name, control in self.controls.items():
            control.layout.display = "" if name in shown(model, method) else "none"
            value = usual[name]
            control.value = value[0] if isinstance(value, tuple) else value

    def _train(self, trainer: Trainer) -> None:
        try:
            trainer.fit()
            self._show_state("finished")
        except StoppedError:
            self._show_state("stopped")
        except (TrainingError, RuntimeError) as error:
            self.complaint.value = complaint_of(error)
            self._show_state("failed")

    def _show_state(self, state: str) -> None:
        running = state in {"training", "pausing"}
        self.start_button.description = "Go on" if state == "pausing" else "Start"
        self.start_button.disabled = state == "training"
        self.pause_button.disabled = state != "training"
        self.stop_button.disabled = not running
        trainer = self.trainer
        if trainer is None:
            return
        sizes = "-".join(map(str, architecture(trainer.model)))
        text = f"{state}: epoch {trainer.epoch} of {trainer.settings.epochs}, network {sizes}"
        if trainer.trajectory:
            last = trainer.trajectory[-1]
            text += f", test error {last['test_error_percent']:.2f} %"
            text += f", {last['seconds']:.1f} seconds an epoch"
        self.status.value = f'<p role="status">{text}</p>'

    def after_step(self) -> None:
        """Wait while the run pauses.

        Raises:
            StoppedError: if it is to end.
        """
        self._going.wait()
        if self._stopping.is_set():
            raise StoppedError

    def after_epoch(self, run: Run) -> None:
        """Draw what the run has come to."""
        assert self.columns is not None
        sizes = torch.cat([p.detach().abs().flatten() for p in run.model.parameters()]).cpu()
        # HALO has a coefficient for each of them.
        coefficients = run.auxiliary[0].detach().cpu().numpy() if run.auxiliary else None
        figure = progress(
            run.trajectory,
            self._recorded(run.settings),
            count_weights(run.fresh_model()),
            self.columns.columns,
            self.columns.links,
            sizes.numpy(),
            coefficients,
        )
        units = "-".join(map(str, run.trajectory[-1]["architecture"]))
        self.picture.value = image_of(figure, f"The run after epoch {run.epoch}: {units}")
        self._show_state("training" if self._going.is_set() else "pausing")

    def _recorded(self, settings: Settings) -> pd.DataFrame:
        same = self._points[["model", "method"]] == [settings.model, settings.method]
        return self._points.loc[same.all(axis=1)]


class _Watch(Callback):
    """Tells the controls of every step and epoch."""

    def __init__(self, live: TrainLive) -> None:
        self._live = live

    def on_step_end(self, run: Run) -> None:
        self._live.after_step()

    def on_epoch_end(self, run: Run) -> None:
        self._live.after_epoch(run)


def shown(model: str, method: str) -> list[str]:
    """The controls that go with a model and a method."""
    gate_option = MODELS[model].gate_option
    return [n for n in _SHOWN[method] if n != "gate_inputs" or n == gate_option]


def _log(label: str, low: float, high: float) -> FloatLogSlider:
    return FloatLogSlider(
        10**low, min=low, max=high, step=0.05, description=label, style=_STYLE, readout_format=".2g"
    )
