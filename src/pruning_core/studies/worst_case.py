"""What training on images at their worst has changed: beside its controls, and the schedule."""

from __future__ import annotations

import pandas as pd

from pruning_core.studies import tables
from pruning_core.studies.archive import Archive
from pruning_core.studies.record_files import settings_of

STUDIES = ("worst-case", "worst-case-lenet-5")
"""Where what is left trains on, with images at their worst and without as a control."""

SAME_WORK = ("price-28-worst", "price-28-longer")
"""A point, and a control with twice its further epochs, which take as many passes."""


def runs(archive: Archive, study: str) -> pd.DataFrame:
    """The recorded runs of a study, with ``label`` and ``schedule_error_percent``.

    The latter is the test error after the last of ``settings.epochs``, before what is left trained
    on: what the same run would have ended with.
    """
    rows, labels = tables.runs(archive, study), archive.study(study).labels
    if not len(rows):
        return rows.assign(label=[], schedule_error_percent=[])
    ends = pd.Series([settings.epochs for settings in settings_of(rows)], index=rows["run"])
    epochs = archive.trajectories(study)
    last = epochs.loc[epochs["epoch"] == ends.loc[epochs["run"]].to_numpy()].set_index("run")
    return rows.assign(
        label=[labels[point] for point in rows["point"]],
        schedule_error_percent=last["test_error_percent"].loc[rows["run"]].to_numpy(),
    )


def gains(archive: Archive) -> dict[str, pd.Series]:
    """Test error with images at their worst minus that of the control, by seed, in points.

    By what is left and ε, a line break, and the further epochs of the control; without
    those of which nothing is recorded.
    """
    found = {}
    for study in STUDIES:
        rows, labels = tables.runs(archive, study), archive.study(study).labels
        pairs = [(p, p.removesuffix("-worst")) for p in labels if p.endswith("-worst")]
        for point, control in [*pairs, SAME_WORK] if SAME_WORK[0] in labels else pairs:
            errors, others = (tables.at(rows, p, "test_error_percent") for p in (point, control))
            what, _, further = labels[control].removesuffix(" further epochs").rpartition(", ")
            how_far = labels[point].rpartition(", ")[2]
            if len(differences := (errors - others).dropna()):
                found[f"{what}, {how_far}\nbeside {further} epochs"] = differences
    return found
