"""What the studies found: a table of runs, and their trajectories, in ``results/``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.models import MODELS
from pruning_core.studies.declaration import Run, Study, StudyError
from pruning_core.studies.record_files import (
    COUNTED,
    CURVE,
    FOLLOWED,
    MEASURED,
    NOTED,
    VERSIONS,
    check_rows,
    read_epochs,
    read_rows,
    write,
)


def table(study: Study, results: Path) -> pd.DataFrame:
    """A row for each finished run of a study, in the order of its declaration.

    Rows of settings that the study no longer declares stay in the file, and are left out here.

    Raises:
        StudyError: if the file is not such a table.
    """
    rows = read_rows(results / f"{study.name}.csv").set_index("run", drop=False)
    recorded = [run for run in study.runs if run.key in rows.index]
    rows = rows.loc[[run.key for run in recorded]].reset_index(drop=True)
    # A point may have got another name since.
    return rows.assign(point=[run.point for run in recorded])


def measures(rows: pd.DataFrame) -> pd.DataFrame:
    """A study's table with shares in percent beside the counts.

    ``sections_left`` are those of models whose sections may leave.
    ``departure_percent`` is the mean moment at which multiply-accumulates left, in percent of the
    training (equation eq-cost-departure, solved for it).
    """
    if not len(rows):
        return rows
    macs_percent = 100 * rows["macs"] / rows["macs_dense"]
    gone, saved = 100 - macs_percent, 100 - rows["training_macs_percent"]
    added = {
        "weights_percent": 100 * rows["weights_kept"] / rows["weights_total"],
        "macs_percent": macs_percent,
        "departure_percent": 100 - 100 * saved / np.where(gone > 0, gone, np.nan),
    }
    deep = [MODELS[model].has_sections for model in rows["model"]]
    if any(deep):
        added["sections_left"] = [
            MODELS[model].depth(list(map(int, units.split("-")))) if is_deep else np.nan
            for model, units, is_deep in zip(rows["model"], rows["architecture"], deep, strict=True)
        ]
    if "undecided" in rows:
        added["undecided_percent"] = 100 * rows["undecided"] / rows["surviving_units"]
        added["sampling_gap"] = (
            rows["stochastic_test_error_percent"] - rows["deterministic_test_error_percent"]
        ).abs()
    if "declared_dead" in rows:
        added |= {
            f"{name}_percent": 100 * rows[name] / rows["declared_dead"] for name in FOLLOWED[1:]
        }
    return rows.assign(**added)


def trajectories(study: Study, results: Path) -> pd.DataFrame:
    """A row for each epoch of each finished run: its key, and what was noted after the epoch.

    Runs that the study no longer declares are left out, as :func:`table` does.

    Raises:
        StudyError: if the file is damaged.
    """
    epochs = read_epochs(results / f"{study.name}.parquet")
    return epochs.loc[epochs["run"].isin([run.key for run in study.runs])]


def record(study: Study, results: Path, found: Mapping[str, tuple[dict[str, Any], Any]]) -> None:
    """Add what finished to the two files of a study; nothing that was recorded before is lost.

    Args:
        study: whose files they are.
        results: their folder; created if missing.
        found: by key of the run, its summary and its trajectory.
    """
    runs = {run.key: run for run in study.runs}
    both = [as_tables(runs[key], *measured) for key, measured in found.items()]
    rows, epochs = (pd.concat(t, ignore_index=True) for t in zip(*both, strict=True))
    _add(study, results, rows, epochs)


def as_tables(
    run: Run, summary: Mapping[str, Any], trajectory: Sequence[Mapping[str, Any]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the two files keep of a run: its row, and a row for each epoch.

    Raises:
        KeyError, TypeError, ValueError: if the two are not what a run leaves.
    """
    rows = pd.DataFrame([row(run, summary, trajectory)])
    epochs = pd.DataFrame([_epoch(run.key, noted) for noted in trajectory])
    check_rows(rows)
    return (
        rows.astype(dict.fromkeys((*MEASURED, *CURVE), float)),
        epochs.astype(dict.fromkeys(NOTED, float)),
    )


def adopt(study: Study, results: Path) -> None:
    """Take over what other studies have recorded of the runs that this one lacks."""
    recorded = set(table(study, results)["run"])
    missing = {run.key: run.point for run in study.runs if run.key not in recorded}
    for path in sorted(results.glob("*.parquet")):
        rows = read_rows(path.with_suffix(".csv"))
        rows = rows.loc[rows["run"].isin(list(missing))]
        if len(rows):
            epochs = read_epochs(path)
            named = rows.assign(point=[missing.pop(key) for key in rows["run"]])
            _add(study, results, named, epochs.loc[epochs["run"].isin(rows["run"])])


def forget(study: Study, results: Path, point: str) -> int:
    """Take the recorded runs of a point out of the files of all studies, to be trained again.

    Returns:
        How many of this study there were.

    Raises:
        StudyError: if the study has no such point.
    """
    if point not in study.points:
        raise StudyError(f"{study.name} has no point {point!r}; it has {', '.join(study.points)}")
    keys = [run.key for run in study.runs if run.point == point]
    recorded = len(table(study, results).query("run in @keys"))
    for path in results.glob("*.parquet"):
        rows, epochs = read_rows(path.with_suffix(".csv")), read_epochs(path)
        if set(keys) & set(rows["run"]):
            write(path, rows.loc[~rows["run"].isin(keys)], epochs.loc[~epochs["run"].isin(keys)])
    return recorded


def row(
    run: Run, summary: Mapping[str, Any], trajectory: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What the table keeps of a run; what its method does not measure is left empty.

    ``macs``, ``macs_dense`` and ``training_macs_percent`` count what
    :func:`multiply_accumulates` does.
    """
    after = [epoch["architecture"] for epoch in trajectory]
    settings, versions = summary["settings"], summary["versions"]
    curve = summary.get("sparsity_curve", {})
    kept = summary["weights_kept"] / summary["weights_total"]
    return {
        "run": run.key,
        "point": run.point,
        **{name: settings[name] for name in ("model", "method", "seed")},
        "epochs": settings["epochs"] + settings.get("survivor_epochs", 0),
        "dataset": run.dataset,
        "split": run.split,
        "architecture": "-".join(map(str, summary["architecture"])),
        "zeros_percent": round(100 * (1 - kept), 4),
        "training_macs_percent": training_macs_percent(
            summary["architecture_dense"], after, settings["model"]
        ),
        **{name: summary[name] for name in COUNTED},
        **{name: summary.get(name) for name in MEASURED},
        **{name: summary[name] for name in FOLLOWED if name in summary},
        **{name: curve.get(name.removeprefix("error_at_")) for name in CURVE},
        "device": summary["device"],
        "threads": summary.get("threads", 1),  # studies have always run on one
        **{name: versions.get(name) for name in VERSIONS},
        "command": run.command,
        "settings": json.dumps(settings),
    }


def _epoch(key: str, noted: Mapping[str, Any]) -> dict[str, Any]:
    """What was noted after an epoch, as plain columns."""
    numbers = {name: noted.get(name) for name in NOTED}
    if "undecided" in noted:
        numbers["undecided"] = sum(noted["undecided"].values())
    return {
        "run": key,
        "epoch": noted["epoch"],
        "architecture": noted["architecture"],
        "weights_kept": noted["weights_kept"],
        **numbers,
        "theta": json.dumps(noted.get("theta", {})),
    }


def training_macs_percent(
    start: Sequence[int], after: Sequence[Sequence[int]], model: str | None = None
) -> float:
    """Multiply-accumulates of a training, in percent of one that stays as it began; four digits.

    Args:
        start: units before the first epoch.
        after: units after each epoch; an epoch costs what stands at its beginning.
        model: whose units they are, as :func:`multiply_accumulates` has it.
    """
    costs = [multiply_accumulates(units, model) for units in (start, *after[:-1])]
    return round(100 * sum(costs) / (len(costs) * costs[0]), 4)


def multiply_accumulates(architecture: Sequence[int], model: str | None = None) -> int:
    """Of a forward pass through what is left of a model.

    One for each weight and one for each bias, at each place: what
    :func:`pruning_core.metrics.count_macs` counts in the network itself.

    Args:
        architecture: its units.
        model: a name in :data:`pruning_core.models.MODELS`; by default LeNet-300-100 for three
            sizes, and LeNet-5 for four.
    """
    if model is None:
        (model,) = (
            name
            for name, known in MODELS.items()
            if not known.has_sections and len(known.units) == len(architecture)
        )
    return MODELS[model].count_macs(architecture)


def _add(study: Study, results: Path, rows: pd.DataFrame, epochs: pd.DataFrame) -> None:
    """Write both files of a study with these rows among the others."""
    results.mkdir(parents=True, exist_ok=True)
    keys = [run.key for run in study.runs]
    path = results / f"{study.name}.parquet"
    before = read_rows(path.with_suffix(".csv")), read_epochs(path)
    write(path, _joined(before[0], rows, keys), _joined(before[1], epochs, keys))


def _joined(before: pd.DataFrame, new: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Both, without the old rows of new runs: in the order of the keys, then those of no key."""
    if not len(new):
        return before
    old = before[~before["run"].isin(list(new["run"]))]
    both = pd.concat([old, new], ignore_index=True) if len(old) else new
    place = {key: index for index, key in enumerate(keys)}
    order = [place.get(key, len(keys)) for key in both["run"]]
    return both.iloc[np.argsort(order, kind="stable")]
