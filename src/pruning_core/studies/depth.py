"""How deep recorded networks are whose sections may leave: at the end, and after each epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pruning_core.models import MODELS


def inside(model: str, architecture: str | Sequence[int]) -> list[int]:
    """Units inside of each section that there was, 0 of one that has left.

    Args:
        model: its name.
        architecture: its units, as a row or a trajectory of a study holds them.
    """
    units = architecture.split("-") if isinstance(architecture, str) else architecture
    return list(MODELS[model].inside([int(size) for size in units]))


def sections_left(rows: pd.DataFrame) -> np.ndarray:
    """Of recorded runs with as many sections at the start, which are left; bool (runs, sections).

    Args:
        rows: of one point of a study.
    """
    return np.array([*map(inside, rows["model"], rows["architecture"])]) > 0


def over_epochs(epochs: pd.DataFrame) -> pd.DataFrame:
    """The trajectories of such runs with ``sections``, how many are left after the epoch.

    Args:
        epochs: of :func:`pruning_core.studies.tables.epochs`.
    """
    sizes = map(inside, epochs["model"], epochs["architecture"])
    return epochs.assign(sections=[sum(size > 0 for size in own) for own in sizes])


def theta_of_sections(noted: str, sections: int) -> list[float]:
    """θ of each section after an epoch, 0 of one that has left; empty once gates are settled.

    Args:
        noted: θ as a trajectory holds it.
        sections: how many there were.
    """
    found = json.loads(noted)
    if not found:
        return []
    gates = (found.get(f"sections.{number}.gate") for number in range(sections))
    return [gate["mean"] if gate else 0.0 for gate in gates]
