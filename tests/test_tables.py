from pathlib import Path

import pandas as pd
import pytest

from pruning_core.models import MODELS
from pruning_core.studies import tables
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import load_study

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)


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
    """From the files alone, every study of the project."""
    found = tables.progress(ARCHIVE)
    for name, row in found.to_dict("index").items():
        declared = load_study(str(name), ROOT / "studies").runs
        path = ROOT / "results" / f"{name}.csv"  # there is none before the first run
        recorded = set(pd.read_csv(path, dtype=str)["run"]) if path.exists() else set()
        missing = {run.point for run in declared if run.key not in recorded}
        assert row["runs"] == len({(run.point, run.settings.seed) for run in declared})
        assert row["recorded"] == sum(run.key in recorded for run in declared)
        assert row["complete"] == len({run.point for run in declared} - missing)
        assert (row["points"], row["split"]) == (
            len({run.point for run in declared}),
            declared[0].split,
        )


def test_what_is_half_recorded_is_not_complete(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "results").mkdir()
    text = (ROOT / "studies" / "reproduce.toml").read_text(encoding="utf-8")
    (tmp_path / "studies" / "reproduce.toml").write_text(text, encoding="utf-8")
    rows = pd.read_csv(ROOT / "results" / "reproduce.csv")
    gone = rows[rows["point"] == "halo"].index[0]
    rows.drop(index=gone).to_csv(tmp_path / "results" / "reproduce.csv", index=False)
    found = tables.progress(Archive(tmp_path)).loc["reproduce"]
    assert (found["points"], found["complete"]) == (2, 1)
    assert (found["runs"], found["recorded"]) == (6, 5)


def test_a_study_without_runs_has_empty_tables(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    declaration = 'title = "S"\nseeds = 2\n[settings]\nmodel = "lenet-5"\nmethod = "halo"\n'
    (tmp_path / "studies" / "s.toml").write_text(declaration)
    assert not len(tables.runs(Archive(tmp_path), "s"))
    assert not len(tables.epochs(Archive(tmp_path), "s"))
    assert tables.progress(Archive(tmp_path)).loc["s", "recorded"] == 0


def test_epochs_know_their_point_and_seed() -> None:
    found = tables.epochs(ARCHIVE, "reproduce")
    assert set(found["point"]) == {"bernoulli", "halo"}
    assert set(found["seed"]) == {0, 1, 2}
    assert min(found["epoch"].tolist()) == 1


def test_a_summary_says_how_many_seeds() -> None:
    found = tables.summary(
        tables.runs(ARCHIVE, "reproduce"), {"error, %": ("test_error_percent", 2)}
    )
    assert found["n"].tolist() == [3, 3]
    assert all("±" in text for text in found["error, %"])


def test_a_point_has_its_mean_its_interval_and_its_seeds() -> None:
    found = tables.summary(RUNS, {"error, %": ("error", 1), "nothing": ("none", 1)})
    assert list(found.index) == ["b", "a"]
    # Student's t with one degree of freedom is 12.7, times √2 / √2.
    assert found.loc["b"].to_list() == [2, "2.0 ± 12.7", "–"]
    assert found.loc["a"].to_list() == [1, "2.5", "–"]


def test_a_summary_may_be_by_several_columns() -> None:
    rows = RUNS.assign(kind=["x", "y", "x"])
    found = tables.summary(rows, {"error, %": ("error", 1)}, by=["kind", "point"])
    assert list(found.index) == [("x", "b"), ("y", "b"), ("x", "a")]


def test_what_was_measured_at_a_point_is_found_by_seed() -> None:
    assert tables.at(RUNS, "b", "error").to_dict() == {0: 1.0, 1: 3.0}
    difference = tables.at(RUNS, "b", "error") - tables.at(RUNS, "a", "error")
    assert difference.dropna().to_dict() == {1: 0.5}


@pytest.mark.parametrize(("point", "column"), [("c", "error"), ("a", "none"), ("a", "other")])
def test_where_nothing_was_measured_there_is_nothing(point: str, column: str) -> None:
    assert not len(tables.at(RUNS, point, column))
    assert not len(tables.at(RUNS[["point"]].iloc[:0], point, column))


def test_a_sentence_has_the_mean_the_interval_and_the_seeds_unless_they_are_ten() -> None:
    def said(values: list[float], *options: str | int) -> str:
        return tables.said(pd.Series(values, dtype=float), *options).replace("\xa0", " ")  # type: ignore[arg-type]

    assert said([1.0, 3.0] * 5, "points", 1) == "2.0 ± 0.8 points"
    assert said([-1.0, 1.0 - 4.0]) == "−2.00 ± 12.71 % (n = 2)"
    assert said([0.5], "") == "0.50 (n = 1)"
    assert said([float("nan")]) == "(not recorded yet)"


def test_a_side_is_where_the_whole_interval_lies() -> None:
    sides = [[1.0, 1.1, 1.2], [-1.0, -1.1, -1.2], [-1.0, 1.1, 1.2], [1.0], []]
    assert [tables.side(pd.Series(values, dtype=float)) for values in sides] == [
        "above",
        "below",
        "open",
        "open",
        "–",
    ]


def test_a_setting_is_read_from_the_row_and_else_its_default() -> None:
    runs = tables.runs(ARCHIVE, "hyper-priors")
    prices = tables.setting(runs, "log_gamma").groupby(runs["point"]).unique()
    assert prices["fixed"].tolist() == [28.0]
    priors = tables.setting(runs, "hyper_prior").groupby(runs["point"]).unique()
    assert priors["flattening"].tolist() == ["flattening"]
    assert priors["beta"].tolist() == ["beta"]


def test_gaps_have_what_follows_the_line_break_at_the_end() -> None:
    values = pd.Series([-1.0, -1.5, -2.0])
    assert list(tables.gaps({"one": values}).columns) == ["difference, points", "interval", "n"]
    found = tables.gaps({"one\nat 95 %": values})
    assert found.loc["one"].tolist() == ["−1.500 ± 1.242", "below", 3, "at 95 %"]


def test_beside_others_at_a_share_of_zeros() -> None:
    def rows(zeros: float, *errors: float) -> pd.DataFrame:
        seeds = range(len(errors))
        return pd.DataFrame({"seed": seeds, "zeros_percent": zeros, "error_at_95": errors})

    ours = rows(96.0, 2.0, 2.5)
    others = {"uncut": rows(95.0, 1.0, 1.25), "cut": rows(90.0, 3.0, 3.5), "units": rows(95.0)}
    found = tables.beside_at(ours, others, 95)
    assert found["its own zeros, %"].to_dict() == {"uncut": "95.0", "cut": "90.0"}
    assert [text.split(" ")[0] for text in found["difference, points"]] == ["1.125", "−1.000"]


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
    """Against the zeros that each run counted itself, and layers counted by hand."""
    rows = tables.runs(ARCHIVE, "reproduce")
    assert set(rows["model"]) == {"lenet-300-100"}
    dense = 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    for row in rows.to_dict("records"):
        assert row["weights_percent"] == pytest.approx(100 - row["zeros_percent"], abs=1e-4)
        pixels, first, second = map(int, row["architecture"].split("-"))
        left = pixels * first + first + first * second + second + second * 10 + 10
        assert row["macs_percent"] == pytest.approx(100 * left / dense)
    few = rows.loc[rows["point"] == "bernoulli", "weights_percent"]
    assert len(few) == 3
    assert few.between(5, 20).all()


def test_readers_have_a_name_for_every_model_and_method_of_the_record() -> None:
    recorded = tables.every_run(ARCHIVE)
    assert set(recorded["method"]) == set(tables.METHODS)
    assert set(recorded["model"]) <= set(tables.MODELS) <= set(MODELS)
