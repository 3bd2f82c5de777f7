from pathlib import Path

import pandas as pd
import pytest

from pruning_core.studies.summary import overview, own_share, paired, recorded

ROOT = Path(__file__).parents[1]
RUNS = pd.DataFrame(
    {
        "point": ["b", "b", "a"],
        "seed": [0, 1, 1],
        "error": [1.0, 3.0, 2.5],
        "zeros_percent": [96.0, 98.0, 89.0],
        "none": [float("nan")] * 3,
    }
)


def test_a_point_has_its_mean_its_interval_and_its_seeds() -> None:
    found = overview(RUNS, {"error": "error, %", "none": "nothing"}, digits=1)
    assert list(found.index) == ["b", "a"]
    # Student's t with one degree of freedom is 12.7, times √2 / √2.
    assert found.loc["b"].to_list() == ["2", "2.0 ± 12.7", "–"]
    assert found.loc["a"].to_list() == ["1", "2.5", "–"]


def test_differences_are_of_seeds_that_both_have() -> None:
    one, other = (RUNS.loc[RUNS["point"] == name] for name in ("b", "a"))
    assert paired(one, other, "error").to_dict() == {1: 0.5}


@pytest.mark.parametrize(("zeros", "share"), [(97.0, 97), (96.9999, 97), (96.9, 95), (89.0, None)])
def test_own_share_is_the_last_one_on_the_curve_before_a_cut(
    zeros: float, share: float | None
) -> None:
    assert own_share(pd.DataFrame({"zeros_percent": [zeros - 1, zeros + 1]})) == share


def test_recorded_rows_have_shares_in_percent() -> None:
    rows = recorded("reproduce", ROOT)
    assert rows["weights_percent"].to_list() == pytest.approx(
        list(100 * rows["weights_kept"] / rows["weights_total"])
    )
