"""The chapter on the field: dominance, pair by pair."""

from pathlib import Path

import numpy as np

from pruning_core.studies.archive import Archive
from pruning_core.studies.published import OURS, compared, operating_points, undominated

ROOT = Path(__file__).parents[2]
ARCHIVE = Archive(ROOT)


def test_eq_field_staircase() -> None:
    """A row is met if one of our points, taken pair by pair, is as small and as accurate."""
    ours = operating_points(ARCHIVE).to_dict("records")
    rows = compared(ARCHIVE)
    for row in rows:
        size = row["weights_percent"]
        rivals = [
            (point["weights_percent"], point["error"])
            for point in ours
            if point["model"] == row["model"] and point["method"] in OURS[row["kind"]]
        ]
        met = [e <= row["error_percent"] for s, e in rivals if s <= size]
        assert row["as_good"] is (any(met) if met else None), row["method"]
        front = [pair for pair, on in zip(rivals, undominated(np.array(rivals)), strict=True) if on]
        assert any(s <= size and e <= row["error_percent"] for s, e in front) == any(met)
    assert {row["as_good"] for row in rows} == {True, False, None}
