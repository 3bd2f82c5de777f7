"""Units at the moment they are removed from two recorded runs, to be held against the theorem.

    python -m pruning_core.studies.removed_units [--root DIR]

trains the run of seed 0 of two points again, LeNet-300-100 at 28 nats and LeNet-5 (about ten
minutes on one core, and nothing once DIR/results, here by default, has the table), and notes of
every unit that leaves what :class:`pruning_core.experiments.leaving.Leaving` sees of it. The runs
are those that are recorded, since nothing of that changes them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from pruning_core.experiments.callbacks import ProgressBar
from pruning_core.experiments.data import Dataset
from pruning_core.experiments.data import load as load_data
from pruning_core.experiments.leaving import Leaving
from pruning_core.experiments.loop import Trainer
from pruning_core.experiments.settings import Settings, recommended
from pruning_core.files import make_writable, write_atomically
from pruning_core.studies import ROOT, own_tables

FILE = "results/removed-units.csv"
RESULTS = ROOT / FILE
"""What the repository has of it.

:meta hide-value:
"""

NETWORKS = {
    "LeNet-300-100 at 28 nats": recommended("lenet-300-100", gate_inputs=True),
    "LeNet-5": recommended("lenet-5"),
}
"""The settings of the runs, by what readers call them.

:meta hide-value:
"""

_TEXT = ("network", "gate")
_NUMBERS = (
    *("epoch", "unit", "price", "decay", "theta", "norm", "gradient", "worth", "seen"),
    "theta_rate",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not in the table yet, and print the medians of each gate.

    Returns:
        The exit code, 2 if the table is damaged.
    """
    torch.set_num_threads(1)
    return own_tables.run("Units at the moment they are removed.", FILE, completed, told, arguments)


def completed(path: Path) -> pd.DataFrame:
    """The table in a file, with the networks that it lacked."""
    complete(path, load_data("mnist"), NETWORKS)
    return load(path)


def told(rows: pd.DataFrame) -> str:
    """Medians of each gate of each network, and how many units left."""
    groups = rows.groupby(["network", "gate"], sort=False)
    shown = groups[["norm", "gradient", "worth", "seen"]].median()
    return shown.assign(units=groups.size()).round(3).to_string()


def complete(path: Path, data: Dataset, networks: dict[str, Settings]) -> None:
    """Add the networks that a table lacks to it, each as soon as it has been trained."""
    make_writable(path.parent)
    for name, settings in networks.items():
        rows = load(path)
        if name not in set(rows["network"]):
            found = followed(name, settings, data)
            both = pd.concat([rows, found]) if len(rows) else found
            write_atomically(path, both.to_csv(index=False, float_format="%.5g").encode())


def followed(name: str, settings: Settings, data: Dataset) -> pd.DataFrame:
    """A row for each unit that leaves in a run."""
    leaving = Leaving()
    Trainer(settings, data, [leaving, ProgressBar()]).fit()
    rows = pd.DataFrame(leaving.rows).assign(network=name, decay=settings.weight_decay)
    return rows.reindex(columns=[*_TEXT, *_NUMBERS])


def load(path: Path) -> pd.DataFrame:
    """A row for each removed unit; empty if there is no such file.

    Raises:
        StudyError: if it is damaged.
    """
    return own_tables.read(path, _TEXT, _NUMBERS)


if __name__ == "__main__":
    sys.exit(main())
