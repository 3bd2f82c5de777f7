"""What looks at a run while it trains: a progress bar, what θ or λ have done."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pruning_core.experiments.run import Run
from pruning_core.gates import any_gates


class Callback:
    """Looks at a run; after an epoch, :attr:`Run.trajectory` ends with its record."""

    def on_train_start(self, run: Run) -> None: ...

    def on_step_end(self, run: Run) -> None: ...

    def on_epoch_end(self, run: Run) -> None: ...

    def on_train_end(self, run: Run) -> None: ...


class ProgressBar(Callback):
    """A tqdm bar over epochs; quiet when standard error is not a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, run: Run) -> None:
        self._bar = tqdm(
            total=run.settings.total_epochs,
            initial=run.epoch,
            unit="epoch",
            disable=sys.stderr is None or not sys.stderr.isatty(),  # None: closed by the caller
        )

    def on_epoch_end(self, run: Run) -> None:
        assert self._bar is not None
        last = run.trajectory[-1]
        self._bar.set_postfix_str(
            f"{'-'.join(map(str, last['architecture']))}, error {last['test_error_percent']:.2f} %"
        )
        self._bar.update()

    def on_train_end(self, run: Run) -> None:
        assert self._bar is not None
        self._bar.close()


class ThetaHistory(Callback):
    """Remembers θ of every unit after every epoch, 0 for those that have left.

    Attributes:
        by_gate: by name of the gate, a row for the start and one for each epoch so far of the
            Bernoulli phase, a column for each unit at the start.
    """

    def __init__(self) -> None:
        self._rows: dict[str, list[Tensor]] = {}

    @property
    def by_gate(self) -> dict[str, Tensor]:
        return {name: torch.stack(rows) for name, rows in self._rows.items()}

    def on_train_start(self, run: Run) -> None:
        for name, gate in any_gates(run.model).items():
            self._rows[name] = [gate.theta.detach().cpu().clone()]

    def on_epoch_end(self, run: Run) -> None:
        for name, gate in any_gates(run.model).items():
            row = torch.zeros_like(self._rows[name][0])
            row[gate.unit_index.cpu()] = gate.theta.detach().cpu()
            self._rows[name].append(row)


class HaloHistory(Callback):
    """Remembers |w| and λ of every penalised weight of a run by HALO, after every epoch.

    The weights of the last epoch are those that the run ends with, zeros below the tolerance; of
    ``survivor_epochs``, which have no λ, nothing is remembered.

    Attributes:
        sizes: |w| after each epoch, in the order of λ; each of shape (n,).
        coefficients: λ after each epoch; each of shape (n,).
    """

    def __init__(self) -> None:
        self.sizes: list[Tensor] = []
        self.coefficients: list[Tensor] = []

    def on_epoch_end(self, run: Run) -> None:
        if run.settings.method != "halo":
            raise ValueError(f"HaloHistory needs method='halo', not {run.settings.method!r}")
        if run.epoch > run.settings.epochs:
            return
        # HALO penalises every parameter, and has a λ for each of their entries in this order.
        (coefficients,) = run.auxiliary
        flat = torch.cat([w.detach().reshape(-1) for w in run.model.parameters()])
        self.sizes.append(flat.abs().cpu())
        self.coefficients.append(coefficients.detach().cpu().clone())
