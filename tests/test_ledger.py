import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from pruning_core.cli import main
from pruning_core.metrics import count_macs
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.studies.declaration import StudyError, load_study, names
from pruning_core.studies.ledger import VERDICTS, Condition, as_text, decided, find, load_claims
from pruning_core.studies.ledger_page import item, named, section
from pruning_core.studies.published import (
    CONTROLS,
    as_table,
    compared,
    load_published,
    operating_points,
    undominated,
)
from pruning_core.studies.records import multiply_accumulates, record

ROOT = Path(__file__).parents[1]
SEEDS = 10
ERRORS = {"a": 1.5 + 0.1 * np.sin(np.arange(SEEDS)), "b": 1.6 + 0.1 * np.cos(np.arange(SEEDS))}

Recorded = Callable[..., Path]
Claims = list[dict[str, Any]]


@pytest.fixture(scope="module")
def claims() -> Claims:
    return decided(ROOT)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """A root whose study "s" has found these errors and weights, by point."""

    def write(errors: dict[str, Sequence[float]], weights: int = 26_620, claims: str = "") -> Path:
        (tmp_path / "studies").mkdir()
        points = "".join(f"[points.{p}]\nxi = {i + 1}e-5\n" for i, p in enumerate(errors))
        (tmp_path / "studies" / "s.toml").write_text(
            f'title = "S"\nseeds = {SEEDS}\n'
            f'[settings]\nmodel = "lenet-300-100"\nmethod = "halo"\n{points}'
        )
        (tmp_path / "studies" / "claims.toml").write_text(claims)
        study = load_study("s", tmp_path / "studies")
        found = {
            run.key: (
                summary(run.settings.seed, errors[run.point], weights),
                [{"epoch": 1, "architecture": [784, 300, 100], "weights_kept": weights}],
            )
            for run in study.runs
            if run.settings.seed < len(errors[run.point])
        }
        record(study, tmp_path / "results", found)
        return tmp_path

    return write


def summary(seed: int, errors: Sequence[float], weights: int) -> dict[str, Any]:
    """Of a run, as far as the record reads it."""
    return {
        "settings": {"model": "lenet-300-100", "method": "halo", "seed": seed, "epochs": 60},
        "architecture": [784, 300, 100],
        "architecture_dense": [784, 300, 100],
        "weights_kept": weights,
        "weights_total": 266_200,
        "macs": 266_610,
        "macs_dense": 266_610,
        "test_error_percent": errors[seed],
        "best_test_error_percent": errors[seed],
        "sparsity_curve": {"95": errors[seed] + 0.2},
        "seconds": 1.0,
        "device": "cpu",
        "versions": {"python": "3.11", "pruning-core": "0"},
    }


def condition(**changes: Any) -> Condition:
    return Condition(**{"study": "s", "points": ("a",), "metric": "test_error_percent"} | changes)


def test_a_mean_has_the_t_interval(recorded: Recorded) -> None:
    found = find(condition(at_most=1.6), recorded(ERRORS))
    expected = stats.ttest_1samp(ERRORS["a"], 0).confidence_interval()
    assert found.estimate == pytest.approx(ERRORS["a"].mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.met) == (SEEDS, True)


def test_a_difference_is_paired_by_seed(recorded: Recorded) -> None:
    minus = ("s", "b", "test_error_percent")
    found = find(condition(minus=minus, at_most=0), recorded(ERRORS))
    expected = stats.ttest_rel(ERRORS["a"], ERRORS["b"]).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    unpaired = stats.ttest_ind(ERRORS["a"], ERRORS["b"]).confidence_interval()
    assert found.low != pytest.approx(unpaired.low, abs=1e-4)


def test_the_whole_interval_may_have_to_keep_the_limit(recorded: Recorded) -> None:
    root = recorded(ERRORS)
    limit = float(ERRORS["a"].mean()) + 1e-3
    assert find(condition(at_most=limit), root).met is True
    assert find(condition(at_most=limit, whole_interval=True), root).met is False
    assert find(condition(at_least=limit), root).met is False


def test_points_may_differ_by_a_share_of_their_mean(recorded: Recorded) -> None:
    found = find(condition(points=("a", "b"), statistic="range", at_most=1), recorded(ERRORS))
    means = sorted(values.mean() for values in ERRORS.values())
    assert found.estimate == pytest.approx((means[1] - means[0]) / np.mean(means))
    assert found.low < found.estimate < found.high


def test_seeds_may_spread_by_a_share_of_their_mean(recorded: Recorded) -> None:
    found = find(condition(statistic="spread", at_most=1), recorded(ERRORS))
    assert found.estimate == pytest.approx(ERRORS["a"].std(ddof=1) / ERRORS["a"].mean())
    assert found.low < found.estimate < found.high


def test_the_worst_seed_may_count(recorded: Recorded) -> None:
    found = find(condition(statistic="largest", at_most=1.59), recorded(ERRORS))
    assert found.estimate == ERRORS["a"].max()
    assert found.met is False


def test_derived_measures_can_be_claimed(recorded: Recorded) -> None:
    assert find(condition(metric="weights_percent", at_most=10), recorded(ERRORS)).estimate == 10


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [((1.6, 1.8), "holds"), ((1.4, 1.8), "holds partly"), ((1.4, 1.4), "fails")],
)
def test_a_verdict_takes_all_conditions_together(
    recorded: Recorded, limits: tuple[float, float], verdict: str
) -> None:
    claims = f"""
[one]
text = "It is accurate"
source = "here"
conditions = [
  {{ study = "s", points = ["a"], metric = "test_error_percent", at_most = {limits[0]} }},
  {{ study = "s", points = ["a"], metric = "error_at_95", at_most = {limits[1]} }},
]
"""
    (claim,) = decided(recorded(ERRORS, claims=claims))
    assert claim["verdict"] == verdict


def test_too_few_seeds_decide_nothing(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    claims = """
[one]
text = "It is accurate"
source = "here"
conditions = [{ study = "s", points = ["a"], metric = "test_error_percent", at_most = 9 }]
"""
    root = recorded({"a": [1.0] * (SEEDS - 1)}, claims=claims)
    (root / "studies" / "published.csv").write_text(
        (ROOT / "studies" / "published.csv").read_text()
    )
    assert main(["ledger", "--json", "--root", str(root)]) == 0
    ledger = json.loads(capsys.readouterr().out)
    assert ledger["claims"][0]["verdict"] == "not decided"
    assert ledger["claims"][0]["conditions"][0]["estimate"] is None
    assert {row["point"] for row in ledger["published"]} == {None}
    assert main(["ledger", "--root", str(root)]) == 0
    text = capsys.readouterr().out
    assert "9 of 10 seeds" in text
    assert "pruning-core study run s" in text


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("unknown keys", ("metric", "metrics")),
        ("statistic is 'median'", ("metric =", 'statistic = "median", metric =')),
        ("needs at_most or at_least", (", at_most = 9", "")),
        ("several points go with", ('["a"]', '["a", "b"]')),
        ("'points'", ('points = ["a"], ', "")),
        ("'conditions'", ("conditions", "condition")),
    ],
)
def test_a_wrong_claim_is_named(tmp_path: Path, words: str, change: tuple[str, str]) -> None:
    text = """
[one]
text = "It is accurate"
source = "here"
conditions = [{ study = "s", points = ["a"], metric = "test_error_percent", at_most = 9 }]
"""
    path = tmp_path / "claims.toml"
    path.write_text(text.replace(*change, 1))
    with pytest.raises(StudyError, match=words):
        load_claims(path)


def test_an_unknown_point_or_metric_lists_the_known(recorded: Recorded) -> None:
    root = recorded(ERRORS)
    with pytest.raises(StudyError, match="no point 'c'; it has a, b"):
        find(condition(points=("c",), at_most=1), root)
    with pytest.raises(StudyError, match="no metric 'error'; it has run, point"):
        find(condition(metric="error", at_most=1), root)


def test_a_published_row_is_met_by_what_is_as_small_and_as_accurate(recorded: Recorded) -> None:
    root = recorded({"a": [1.5] * SEEDS, "b": [1.7] * SEEDS}, weights=5_324)
    header = "model,kind,method,kept,weights_percent,macs,zeros_percent,error_percent\n"
    rows = [
        ("unstructured,easy,,,,98,1.6", True, "a"),
        ("unstructured,accurate,,,,98,1.4", False, "a"),
        ("unstructured,smaller,,,,98.1,9", None, None),
        ("structured,units,,50,,,9", None, None),
    ]
    (root / "studies" / "published.csv").write_text(
        header + "".join(f"lenet-300-100,{row}\n" for row, _, _ in rows)
    )
    found = [(row["as_good"], row["point"]) for row in compared(root)]
    assert found == [(good, point) for _, good, point in rows]


def test_a_network_of_another_size_is_not_compared(recorded: Recorded) -> None:
    root = recorded({"a": [1.5] * SEEDS})
    assert set(operating_points(root)["point"]) == {"a"}
    path = root / "results" / "s.csv"
    pd.read_csv(path).assign(weights_total=1_348_000).to_csv(path, index=False)
    assert not len(operating_points(root))


def test_without_results_no_published_row_is_met(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    shutil.copy(ROOT / "studies" / "published.csv", tmp_path / "studies")
    rows = compared(tmp_path)
    assert len(rows) == len(load_published(ROOT))
    assert not any(row["as_good"] or row["point"] for row in rows)


def test_the_best_of_many_starts_is_not_compared() -> None:
    assert not set(operating_points(ROOT)["study"]) & CONTROLS
    assert set(names(ROOT / "studies")) >= CONTROLS


def test_a_table_has_a_row_for_each_published_result() -> None:
    rows = compared(ROOT)
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


def test_a_point_is_dominated_by_one_that_is_better_in_one_and_worse_in_none() -> None:
    points = np.array([[1, 3], [2, 2], [2, 2], [2, 3], [3, 1], [3, 2]])
    assert undominated(points).tolist() == [True, True, True, False, True, False]


def test_published_sizes_are_those_that_counting_gives() -> None:
    rows = load_published(ROOT).dropna(subset="kept")
    assert len(rows) > 10
    for row in rows.to_dict("records"):
        kept = [int(size) for size in row["kept"].split("-")]
        weights, macs = weights_of(row["model"], kept), multiply_accumulates(kept)
        assert row["weights_percent"] == pytest.approx(weights, rel=0.02), row["method"]
        if pd.notna(row["macs"]):
            # Published in thousands, by some with the biases.
            assert row["macs"] == pytest.approx(macs, rel=0.03), row["method"]


def weights_of(model: str, kept: list[int]) -> float:
    """In percent of the dense network's."""
    if model == "lenet-300-100":
        pixels, first, second = kept
        return 100 * (pixels * first + first * second + 10 * second) / 266_200
    filters, more, features, hidden = kept
    weights = 25 * filters * (1 + more) + features * hidden + 10 * hidden
    return 100 * weights / 430_500


@pytest.mark.parametrize(
    ("model", "sizes", "biases"),
    # A bias is added once for each output, of convolutions at every place.
    [
        (lenet_300_100(gated=False), [784, 300, 100], 410),
        (lenet_5(gated=False), [20, 50, 800, 500], 20 * 24 * 24 + 50 * 8 * 8 + 510),
    ],
)
def test_multiply_accumulates_of_an_architecture(
    model: nn.Module, sizes: list[int], biases: int
) -> None:
    counted = count_macs(model, torch.zeros(1, 1, 28, 28))
    assert multiply_accumulates(sizes) + biases == counted


def test_an_interval_may_reach_across_the_limit(recorded: Recorded) -> None:
    root = recorded(ERRORS)
    mean, half = ERRORS["a"].mean(), stats.sem(ERRORS["a"]) * stats.t.ppf(0.975, SEEDS - 1)
    for shift, clear in ((0.5 * half, False), (1.5 * half, True)):
        assert find(condition(at_most=mean + shift), root).clear is clear
        assert find(condition(at_least=mean + shift), root).clear is clear
        assert find(condition(at_most=mean - shift), root).clear is clear
    assert find(condition(statistic="largest", at_most=9), root).clear is None
    assert find(condition(seeds=SEEDS + 1, at_most=9), root).clear is None


def test_a_claim_on_the_page_has_its_words_its_verdict_and_its_numbers(claims: Claims) -> None:
    claim: dict[str, Any] = claims[0] | {"text": "a < b", "verdict": "holds partly"}
    html = item(claim)
    assert "a &lt; b." in html
    assert '<strong class="verdict holds-partly">holds partly</strong>' in html
    for found in claim["conditions"]:
        assert escape(found["found"]) in html
        assert f"<code>{found['command']}</code>" in html


@pytest.mark.parametrize(("clear", "told"), [(False, True), (True, False), (None, False)])
def test_the_page_says_when_an_interval_reaches_across_the_limit(
    clear: bool | None, told: bool, claims: Claims
) -> None:
    claim: dict[str, Any] = claims[0] | {
        "conditions": [claims[0]["conditions"][0] | {"clear": clear}]
    }
    assert ("reaches across the limit" in item(claim)) is told


def test_claims_are_found_by_name(claims: Claims) -> None:
    (claim,) = named(claims, "deterministic")
    assert item(claim).count("<li>") == len(claim["conditions"]) == 4
    with pytest.raises(ValueError, match=r"no claims \['nothing'\]; there are bernoulli"):
        named(claims, "deterministic", "nothing")


def test_a_difference_needs_the_runs_of_both_studies(claims: Claims) -> None:
    (claim,) = named(claims, "halo-against-magnitude")
    for study in ("halo-lenet-300-100", "baselines-lenet-300-100"):
        assert f"<code>pruning-core study run {study}</code>" in item(claim)
        assert f"    pruning-core study run {study}" in as_text([claim])


def test_a_section_ends_at_the_next_of_its_level(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# A\n\n## B\n\ntext\n\n### C\n\nmore\n\n## D\n\nother\n")
    assert section(path, "## B") == "text\n\n### C\n\nmore"
    with pytest.raises(ValueError, match="no heading '## E'"):
        section(path, "## E")


def test_the_book_shows_the_ledger_as_the_results_have_it(claims: Claims) -> None:
    notebook = nbformat.read(ROOT / "book" / "the-ledger.ipynb", as_version=4)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    shown = "".join(o.data["text/html"] for o in outputs if "text/html" in o.get("data", {}))
    stale = [claim["name"] for claim in claims if item(claim) not in shown]
    assert not stale, "make notebooks: the page shows what the results no longer say"
    assert shown.count('<li id="claim-') == len(claims)
    counts = Counter(claim["verdict"] for claim in claims)
    text = "".join(o.text for o in outputs if o.get("name") == "stdout")
    assert all(f"{verdict}: {counts[verdict]}," in text for verdict in VERDICTS)


def test_every_claim_of_the_project_can_be_looked_up(claims: Claims) -> None:
    for claim in claims:
        assert claim["verdict"] in ("holds", "holds partly", "fails", "not decided"), claim["name"]
        assert claim["text"]
        assert claim["source"]
