"""Published results beside ours, by hand-made records and by the ones in the repository."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pruning_core.metrics import count_macs
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError, load_study, names
from pruning_core.studies.published import (
    CONTROLS,
    as_table,
    as_text,
    compared,
    dominance,
    load_published,
    operating_points,
    rivals,
    undominated,
)
from pruning_core.studies.records import multiply_accumulates, record

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)
SEEDS = 10
DENSE = 266_200
READ = {"model": "lenet-300-100", "confirmed": "yes", "source": "a README"}

Recorded = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with an empty ``studies``."""
    (tmp_path / "studies").mkdir()
    return tmp_path


@pytest.fixture
def recorded(root: Path) -> Recorded:
    """Records of a study whose points have these methods, errors and weights in percent."""

    def write(
        study: str,
        points: dict[str, tuple[str, Sequence[float], float]],
        **changes: Any,
    ) -> None:
        text = "".join(
            f'[points.{p}]\nmethod = "{method}"\nlabel = "the {p}"\nepochs = {50 + i}\n'
            for i, (p, (method, _, _)) in enumerate(points.items())
        )
        (root / "studies" / f"{study}.toml").write_text(
            f'title = "S"\nseeds = {SEEDS}\n[settings]\nmodel = "lenet-300-100"\n{text}'
        )
        declared = load_study(study, root / "studies")
        found = {}
        for run in declared.runs:
            method, errors, weights = points[run.point]
            if run.settings.seed < len(errors):
                error = errors[run.settings.seed]
                found[run.key] = (
                    summary(method, run.settings.seed, error, weights) | changes,
                    [{"epoch": 1, "architecture": [784, 300, 100], "weights_kept": DENSE}],
                )
        record(declared, root / "results", found)

    return write


def summary(method: str, seed: int, error: float, weights: float) -> dict[str, Any]:
    """Of a run, as far as the record reads it."""
    return {
        "settings": {"model": "lenet-300-100", "method": method, "seed": seed, "epochs": 90},
        "architecture": [784, 300, 100],
        "architecture_dense": [784, 300, 100],
        "weights_kept": round(DENSE * weights / 100),
        "weights_total": DENSE,
        "macs": 26_661,
        "macs_dense": 266_610,
        "test_error_percent": error,
        "best_test_error_percent": error - 0.05,
        "sparsity_curve": {"99": error + 1},
        "seconds": 1.0,
        "device": "cpu",
        "versions": {"python": "3.11", "pruning-core": "0"},
    }


def publish(root: Path, *rows: dict[str, Any]) -> None:
    """Write these rows of ``studies/published.csv``; errors as text, to keep their digits."""
    columns = pd.read_csv(ROOT / "studies" / "published.csv", nrows=0).columns
    filled = pd.DataFrame([READ | row for row in rows]).reindex(columns=columns)
    filled.to_csv(root / "studies" / "published.csv", index=False)


def unstructured(method: str, zeros: float, error: str, **others: Any) -> dict[str, Any]:
    row = {"kind": "unstructured", "method": method, "zeros_percent": zeros}
    return row | {"error_percent": error} | others


def structured(method: str, weights: float, error: str, **others: Any) -> dict[str, Any]:
    row = {"kind": "structured", "method": method, "weights_percent": weights}
    return row | {"error_percent": error} | others


# --- the file ---


def test_a_row_has_its_weights_its_digits_and_its_best_error(root: Path) -> None:
    publish(
        root,
        structured("units", 25.3, "1.80"),
        unstructured("final", 98.2, "1.9", reports="final", best_percent=1.44),
        structured("best", 3.59, "2", reports="best"),
    )
    rows = load_published(Archive(root))
    assert rows["weights_percent"].to_list() == [25.3, 1.8, 3.59]
    assert rows["error_percent"].to_list() == [1.8, 1.9, 2.0]
    assert rows["digits"].to_list() == [2, 1, 0]
    assert rows["best_percent"].fillna(0).to_list() == [0, 1.44, 2.0]
    assert rows["reports"].to_list() == ["", "final", "best"]


@pytest.mark.parametrize("source", ["", " "])
def test_a_confirmed_row_without_a_source_is_refused(root: Path, source: str) -> None:
    publish(root, structured("VIBNet", 3.59, "1.6"), structured("GD", 4, "1.1", source=source))
    words = r"GD on lenet-300-100, 1\.1 % at 4 % of the weights, is confirmed without a source; say"
    with pytest.raises(StudyError, match=words):
        load_published(Archive(root))
    publish(root, structured("GD", 4, "1.1", source="", confirmed="no"))
    assert len(load_published(Archive(root))) == 1


def test_a_file_that_is_missing_or_lacks_columns_is_told(root: Path) -> None:
    path = root / "studies" / "published.csv"
    with pytest.raises(StudyError, match=r"there is no .*published\.csv; .* --root"):
        load_published(Archive(root))
    path.write_text("model,method\nlenet-5,GD\n")
    with pytest.raises(StudyError, match="lacks the columns best_percent, confirmed"):
        load_published(Archive(root))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (structured("GD", 3.59, "low"), "error_percent of GD on lenet-300-100 is 'low'"),
        (structured("GD", 3.59, ""), "error_percent of GD on lenet-300-100 is nan"),
        (structured("GD", 3.59, "1.6", macs="few"), "macs of GD on lenet-300-100 is 'few'"),
    ],
)
def test_what_is_no_number_is_told(root: Path, row: dict[str, Any], words: str) -> None:
    publish(root, row)
    with pytest.raises(StudyError, match=rf"published\.csv: {words}; a number was expected"):
        load_published(Archive(root))


def test_every_row_of_the_project_is_sound() -> None:
    rows = load_published(ARCHIVE)
    confirmed = rows.loc[rows["confirmed"] == "yes"]
    assert set(rows["confirmed"]) == {"yes", "no"}
    assert set(rows["reports"]) == {"", "final", "best"}
    assert (confirmed["source"].str.len() > 5).all()
    assert rows["weights_percent"].between(0, 100, inclusive="right").all()
    assert all(rows["error_percent"] >= rows["best_percent"].fillna(0))
    assert not rows.duplicated(["model", "kind", "method", "weights_percent"]).any()
    # RigL says of these that they report the best error ever observed.
    best = set(rows.loc[rows["reports"] == "best", "method"])
    assert best == {"L0", "L0-sep", "VIBNet", "SBP"}


def test_published_sizes_are_those_that_counting_gives() -> None:
    rows = load_published(ARCHIVE).query("kind == 'structured'")
    assert len(rows) > 10
    for row in rows.to_dict("records"):
        kept = [int(size) for size in row["kept"].split("-")]
        weights, macs = weights_of(row["model"], kept), multiply_accumulates(kept)
        assert row["weights_percent"] == pytest.approx(weights, rel=0.005), row["method"]
        if pd.notna(row["macs"]):
            assert row["macs"] == pytest.approx(macs, rel=0.005), row["method"]


def test_zeros_inside_a_trimmed_network_are_counted_in_the_whole_one() -> None:
    """RigL's table tells the zeros among the weights of the units that are left."""
    rows = load_published(ARCHIVE).set_index("method")
    for method, inside in (("RigL", 0.870), ("RigL+", 0.886)):
        pixels, first, second = map(int, rows.loc[method, "kept"].split("-"))
        left = (1 - inside) * (pixels * first + first * second + 10 * second)
        assert rows.loc[method, "weights_percent"] == pytest.approx(100 * left / DENSE, rel=0.005)


def weights_of(model: str, kept: list[int]) -> float:
    """In percent of the dense network's."""
    if model == "lenet-300-100":
        pixels, first, second = kept
        return 100 * (pixels * first + first * second + 10 * second) / DENSE
    filters, more, features, hidden = kept
    weights = 25 * filters * (1 + more) + features * hidden + 10 * hidden
    return 100 * weights / 430_500


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        (lenet_300_100(gated=False), [784, 300, 100]),
        (lenet_5(gated=False), [20, 50, 800, 500]),
    ],
)
def test_multiply_accumulates_of_an_architecture(model: nn.Module, sizes: list[int]) -> None:
    counted = count_macs(model, torch.zeros(1, 1, 28, 28))
    assert multiply_accumulates(sizes) == counted


# --- ours ---


def test_a_point_has_its_label_and_the_mean_of_its_best_errors(
    root: Path, recorded: Recorded
) -> None:
    recorded("s", {"a": ("halo", np.linspace(1.4, 1.6, SEEDS), 2)})
    whole, cut = operating_points(Archive(root)).to_dict("records")
    assert (whole["name"], cut["name"]) == ("the a", "the a, cut to 99 % zeros")
    assert (whole["error"], whole["best"]) == pytest.approx((1.5, 1.45))
    assert (cut["error"], cut["weights_percent"]) == pytest.approx((2.5, 1))
    assert np.isnan(cut["best"])


def test_a_network_of_another_size_is_not_compared(root: Path, recorded: Recorded) -> None:
    recorded("s", {"a": ("halo", [1.5] * SEEDS, 10)})
    assert set(operating_points(Archive(root))["point"]) == {"a"}
    path = root / "results" / "s.csv"
    pd.read_csv(path).assign(weights_total=1_348_000).to_csv(path, index=False)
    assert not len(operating_points(Archive(root)))


def test_the_best_of_many_starts_is_not_compared() -> None:
    assert not set(operating_points(ARCHIVE)["study"]) & CONTROLS
    assert set(names(ROOT / "studies")) >= CONTROLS


# --- each published row ---


def test_a_row_is_met_by_what_is_as_small_and_as_accurate(root: Path, recorded: Recorded) -> None:
    recorded("s", {"a": ("halo", [1.5] * SEEDS, 2), "b": ("halo", [1.7] * SEEDS, 2)})
    publish(
        root,
        unstructured("easy", 98, "1.6"),
        unstructured("accurate", 98, "1.4"),
        unstructured("smaller", 98.1, "9"),
        structured("units", 50, "9"),
    )
    found = [(row["as_good"], row["point"], row["metric"]) for row in compared(Archive(root))[:2]]
    assert found == [(True, "a", "test_error_percent"), (False, "a", "test_error_percent")]
    *_, smaller, units = compared(Archive(root))
    assert (smaller["as_good"], smaller["metric"]) == (True, "error_at_99")
    assert (units["as_good"], units["point"]) == (None, None)


def test_our_best_error_stands_beside_a_best_one(root: Path, recorded: Recorded) -> None:
    recorded("s", {"a": ("bernoulli", [1.5] * SEEDS, 2)})
    publish(
        root,
        structured("best", 3, "1.45", reports="best"),
        structured("unknown", 3, "1.45"),
        structured("smaller", 1, "1.45", reports="best"),
    )
    rows = compared(Archive(root))
    assert [row["as_good"] for row in rows] == [False] * 3
    # The smaller one is a cut, which has no epochs.
    assert [row["best"] for row in rows] == [pytest.approx(1.45), pytest.approx(1.45), None]
    table = as_table(rows)
    assert table["our best"].to_list() == ["1.45", "", ""]
    assert table["its best"].to_list() == ["1.45", "", "1.45"]
    best, told, unknown, smaller = as_text(rows).splitlines()[-4:]
    assert [line.split()[0] for line in (best, unknown, smaller)] == ["best", "unknown", "smaller"]
    assert told.strip() == "best error of any epoch: 1.45 %, ours 1.45 %"


def test_without_results_no_row_is_met(root: Path) -> None:
    shutil.copy(ROOT / "studies" / "published.csv", root / "studies")
    rows = compared(Archive(root))
    assert len(rows) == len(load_published(ARCHIVE))
    assert not any(row["as_good"] or row["point"] for row in rows)
    assert as_text(rows).count("none is as small") == len(rows)


def test_a_table_has_a_row_for_each_published_result() -> None:
    rows = compared(ARCHIVE)
    found = as_table(rows)
    assert found.index.to_list() == [
        row["method"] + (", recalled" if row["confirmed"] == "no" else "") for row in rows
    ]
    assert found["met"].to_list() == [
        "–" if row["point"] is None else "yes" if row["as_good"] else "no" for row in rows
    ]
    by_macs = {"yes": True, "no": False, "–": None}
    told = [
        (row["by_macs"], shown)
        for row, shown in zip(rows, found["by MACs"], strict=True)
        if "by_macs" in row
    ]
    assert [by_macs[shown] for _, shown in told] == [verdict for verdict, _ in told]
    assert None in {verdict for verdict, _ in told}


def test_an_error_is_shown_as_it_was_printed(root: Path, recorded: Recorded) -> None:
    recorded("s", {"a": ("halo", [1.5] * SEEDS, 2)})
    publish(
        root,
        unstructured("one", 98, "1.60", standard_error=0.02),
        unstructured("other", 98, "1.6"),
    )
    table = as_table(compared(Archive(root)))
    assert list(table["its error"]) == ["1.60", "1.6"]
    assert list(table["its s.e."]) == ["0.02", ""]


# --- fronts ---


def test_a_point_is_dominated_by_one_that_is_better_in_one_and_worse_in_none() -> None:
    points = np.array([[1, 3], [2, 2], [2, 2], [2, 3], [3, 1], [3, 2]])
    assert undominated(points).tolist() == [True, True, True, False, True, False]


def test_rivals_are_confirmed_rows_and_baselines_of_the_same_kind(
    root: Path, recorded: Recorded
) -> None:
    recorded(
        "baselines-lenet-300-100",
        {
            "group-lasso": ("group-lasso", [1.4, 1.5, 1.6], 12.5),
            "l0": ("l0", [1.7, 1.7], 20),
            "snip": ("snip", [1.9] * SEEDS, 5),
            "halo": ("halo", [1.0] * SEEDS, 5),
        },
    )
    publish(
        root,
        structured("VIBNet", 3.59, "1.6"),
        structured("GNJ", 10.8, "1.8", confirmed="no"),
        structured("GD", 1.38, "1.1") | {"model": "lenet-5"},
        unstructured("RigL", 97.63, "1.48"),
        unstructured("Momentum", 99, "2.36"),
        unstructured("Momentum", 95, "1.53"),
    )
    found = rivals(Archive(root), "lenet-300-100", "structured")
    assert list(found["name"]) == ["VIBNet", "the group-lasso, ours"]
    theirs, ours = found.to_dict("records")
    assert (theirs["ours"], theirs["error_percent"], theirs["digits"]) == (False, 1.6, 1)
    assert np.isnan(theirs["n"])
    assert np.isnan(theirs["macs"])
    assert (ours["ours"], ours["n"], ours["digits"]) == (True, 3, 9)
    assert (ours["error_percent"], ours["weights_percent"]) == pytest.approx((1.5, 12.5))
    assert ours["macs"] == 26_661
    both = rivals(Archive(root), "lenet-300-100", "unstructured")
    theirs = ["VIBNet", "RigL", "Momentum at 1 %", "Momentum at 5 %"]
    # The cut of what is smallest and most accurate at 99 %, of all that there are.
    ours = ["the group-lasso, ours", "the group-lasso, cut to 99 % zeros, ours", "the snip, ours"]
    assert list(both["name"]) == theirs + ours


def test_there_may_be_no_rival(root: Path) -> None:
    publish(root, structured("VIBNet", 3.59, "1.6"))
    assert rivals(Archive(root), "lenet-5", "structured").empty
    assert "digits" in rivals(Archive(root), "lenet-5", "structured")


@pytest.mark.parametrize(("model", "dense"), [("lenet-300-100", 266_610), ("lenet-5", 2_308_230)])
def test_rivals_of_the_project_are_counted_as_its_points_are(model: str, dense: int) -> None:
    points = operating_points(ARCHIVE).query("model == @model")
    few, many = (rivals(ARCHIVE, model, kind) for kind in ("structured", "unstructured"))
    assert 2 < len(few) < len(many)
    for found in (few, many):
        assert found["name"].is_unique
        assert all(found.query("ours")["n"] >= 3)
        assert not any(found.query("not ours")["n"] >= 0)
    # Nothing has more multiply-accumulates than the dense network; single zeros save none.
    assert max(points["macs"]) == dense
    assert max(many.query("ours")["macs"]) == dense
    assert max(few["macs"].dropna()) <= 1.001 * dense


def test_ours_counts_as_rounded_to_the_digits_that_are_printed() -> None:
    points = pd.DataFrame({"error": [1.588], "weights_percent": [9.48]})
    beside = pd.DataFrame(
        {
            "name": ["smaller", "larger", "finer", "ours", "unknown"],
            "weights_percent": [3.59, 10.0, 3.59, 3.59, np.nan],
            "error_percent": [1.6, 1.6, 1.6, 1.6, 0.1],
            "digits": [1, 1, 2, 9, 1],
        }
    )
    (found,) = dominance(points, beside).to_dict("records")
    assert found["dominated_by"] == ["smaller"]
    assert found["dominates"] == ["larger"]


def test_rounding_is_never_in_our_favour() -> None:
    points = pd.DataFrame({"error": [1.64], "weights_percent": [2.0], "macs": [9.0]})
    beside = pd.DataFrame(
        {"name": ["other"], "weights_percent": [3.0], "macs": [9.0], "error_percent": [1.6]}
    ).assign(digits=1)
    assert list(dominance(points, beside)["dominates"]) == [[]]
    assert list(dominance(points, beside)["dominated_by"]) == [[]]
    assert list(dominance(points, beside, "macs")["dominated_by"]) == [["other"]]
