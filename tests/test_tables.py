from pathlib import Path

import pandas as pd
import pytest

from pruning_core.studies import tables

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


def test_progress_counts_what_is_recorded() -> None:
    found = tables.progress(ROOT)
    assert all(r <= n for r, n in zip(found["recorded"], found["runs"], strict=True))
    assert found.loc["reproduce", "recorded"] == len(tables.runs(ROOT, "reproduce"))
    assert all(c <= n for c, n in zip(found["complete"], found["points"], strict=True))


def test_a_study_without_runs_has_empty_tables(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    declaration = 'title = "S"\nseeds = 2\n[settings]\nmodel = "lenet-5"\nmethod = "halo"\n'
    (tmp_path / "studies" / "s.toml").write_text(declaration)
    assert not len(tables.runs(tmp_path, "s"))
    assert not len(tables.epochs(tmp_path, "s"))
    assert tables.progress(tmp_path).loc["s", "recorded"] == 0


def test_epochs_know_their_point_and_seed() -> None:
    found = tables.epochs(ROOT, "reproduce")
    assert set(found["point"]) == {"bernoulli", "halo"}
    assert set(found["seed"]) == {0, 1, 2}
    assert min(found["epoch"].tolist()) == 1


def test_a_summary_says_how_many_seeds() -> None:
    found = tables.summary(tables.runs(ROOT, "reproduce"), {"error, %": ("test_error_percent", 2)})
    assert found["n"].tolist() == [3, 3]
    assert all("±" in text for text in found["error, %"])


def test_a_point_has_its_mean_its_interval_and_its_seeds() -> None:
    found = tables.summary(RUNS, {"error, %": ("error", 1), "nothing": ("none", 1)})
    assert list(found.index) == ["b", "a"]
    # Student's t with one degree of freedom is 12.7, times √2 / √2.
    assert found.loc["b"].to_list() == [2, "2.0 ± 12.7", "–"]
    assert found.loc["a"].to_list() == [1, "2.5", "–"]


def test_differences_are_of_seeds_that_both_have() -> None:
    one, other = (RUNS.loc[RUNS["point"] == name] for name in ("b", "a"))
    assert tables.paired(one, other, "error").to_dict() == {1: 0.5}


def test_a_fair_difference_cuts_neither_of_the_two() -> None:
    def rows(zeros: float, error: float | None) -> pd.DataFrame:
        curve = {f"error_at_{share:g}": [error, error] for share in (90, 95, 98)}
        return pd.DataFrame({"seed": [0, 1], "zeros_percent": [zeros, zeros], **curve})

    ours = {"few": rows(95.5, 2.0), "many": rows(98.2, 3.0)}
    others = {
        "dense": rows(20, 1.0),
        "units": rows(96, None),
        "some": rows(91, 1.5),
        "more": rows(98, 1.25),
        "most": rows(99.2, 4.0),
    }
    found = tables.fair_differences(ours, others)
    assert {label: values.tolist() for label, values in found.items()} == {
        "some\nat 90 %, against few": [0.5, 0.5],
        "more\nat 98 %, against many": [1.75, 1.75],
    }


@pytest.mark.parametrize(("zeros", "share"), [(97.0, 97), (96.9999, 97), (96.9, 95), (89.0, None)])
def test_own_share_is_the_last_one_on_the_curve_before_a_cut(
    zeros: float, share: float | None
) -> None:
    assert tables.own_share(pd.DataFrame({"zeros_percent": [zeros - 1, zeros + 1]})) == share
    assert tables.own_share(pd.DataFrame({"zeros_percent": []})) is None


def test_recorded_rows_have_shares_in_percent() -> None:
    rows = tables.runs(ROOT, "reproduce")
    assert rows["weights_percent"].to_list() == pytest.approx(
        list(100 * rows["weights_kept"] / rows["weights_total"])
    )
