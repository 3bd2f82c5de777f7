"""What looks at a run while it trains: a progress bar, the checkpoint, what θ or λ have done."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from pruning_core.files import write_atomically
from pruning_core.gates import any_gates
from pruning_core.halo import Halo

if TYPE_CHECKING:
    from pruning_core.experiments.loop import Trainer

CHECKPOINT_FILE = "checkpoint.pt"


class Callback:
    """Looks at a run; after an epoch, :attr:`Trainer.trajectory` ends with its record."""

    def on_train_start(self, trainer: Trainer) -> None: ...

    def on_step_end(self, trainer: Trainer) -> None: ...

    def on_epoch_end(self, trainer: Trainer) -> None: ...

    def on_train_end(self, trainer: Trainer) -> None: ...


class ProgressBar(Callback):
    """A tqdm bar over epochs; quiet when standard error is not a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: Trainer) -> None:
        self._bar = tqdm(
            total=trainer.settings.epochs,
            initial=trainer.epoch,
            unit="epoch",
            disable=not sys.stderr.isatty(),
        )

    def on_epoch_end(self, trainer: Trainer) -> None:
        assert self._bar is not None
        last = trainer.trajectory[-1]
        self._bar.set_postfix_str(
            f"{'-'.join(map(str, last['architecture']))}, error {last['test_error_percent']:.2f} %"
        )
        self._bar.update()

    def on_train_end(self, trainer: Trainer) -> None:
        assert self._bar is not None
        self._bar.close()


class Checkpoint(Callback):
    """Writes the complete state after every epoch, to a temporary name that is then renamed."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / CHECKPOINT_FILE

    def on_epoch_end(self, trainer: Trainer) -> None:
        buffer = io.BytesIO()
        torch.save(trainer.state_dict(), buffer)
        write_atomically(self.path, buffer.getvalue())


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

    def on_train_start(self, trainer: Trainer) -> None:
        for name, gate in any_gates(trainer.model).items():
            self._rows[name] = [gate.theta.detach().cpu().clone()]

    def on_epoch_end(self, trainer: Trainer) -> None:
        for name, gate in any_gates(trainer.model).items():
            row = torch.zeros_like(self._rows[name][0])
            row[gate.unit_index.cpu()] = gate.theta.detach().cpu()
            self._rows[name].append(row)


class HaloHistory(Callback):
    """Remembers |w| and λ of every penalised weight of a run by HALO, after every epoch.

    The weights of the last epoch are those that the run ends with, zeros below the tolerance.

    Attributes:
        sizes: |w| after each epoch, in the order of λ; each of shape (n,).
        coefficients: λ after each epoch; each of shape (n,).
    """

    def __init__(self) -> None:
        self.sizes: list[Tensor] = []
        self.coefficients: list[Tensor] = []

    def on_epoch_end(self, trainer: Trainer) -> None:
        halo = getattr(trainer.method, "halo", None)
        if not isinstance(halo, Halo):
            raise ValueError(f"HaloHistory needs method='halo', not {trainer.settings.method!r}")
        flat = torch.cat([w.detach().reshape(-1) for w in halo.weights])
        self.sizes.append(flat.abs().cpu())
        self.coefficients.append(halo.coefficients.detach().cpu().clone())
