import json
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pruning_core.cli import main
from pruning_core.studies import feature_selection
from pruning_core.studies.archive import Archive
from pruning_core.studies.claims import SOURCES, load_claims
from pruning_core.studies.conditions import ALONE, Condition, told
from pruning_core.studies.declaration import StudyError, load_study
from pruning_core.studies.fronts import beside, front, lead
from pruning_core.studies.ledger import (
    VERDICTS,
    abstracts,
    counts,
    decided,
    find,
)
from pruning_core.studies.ledger_page import first_screen, item, named, section
from pruning_core.studies.ledger_text import as_text, last_line
from pruning_core.studies.records import record

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)
SEEDS = 10
ERRORS = {"a": 1.5 + 0.1 * np.sin(np.arange(SEEDS)), "b": 1.6 + 0.1 * np.cos(np.arange(SEEDS))}

Recorded = Callable[..., Path]
Claims = list[dict[str, Any]]


@pytest.fixture(scope="module")
def claims() -> Claims:
    return decided(ARCHIVE)


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
    found = find(condition(at_most=1.6), Archive(recorded(ERRORS)))
    expected = stats.ttest_1samp(ERRORS["a"], 0).confidence_interval()
    assert found.estimate == pytest.approx(ERRORS["a"].mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.met) == (SEEDS, True)


def test_a_difference_is_paired_by_seed(recorded: Recorded) -> None:
    minus = ("s", "b", "test_error_percent")
    found = find(condition(minus=minus, at_most=0), Archive(recorded(ERRORS)))
    expected = stats.ttest_rel(ERRORS["a"], ERRORS["b"]).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    unpaired = stats.ttest_ind(ERRORS["a"], ERRORS["b"]).confidence_interval()
    assert found.low != pytest.approx(unpaired.low, abs=1e-4)


def test_two_differences_are_compared_by_seed(recorded: Recorded) -> None:
    root = recorded(ERRORS | {"c": ERRORS["b"] ** 2, "d": np.sqrt(ERRORS["a"])})
    minus, beside = ("s", "b", "test_error_percent"), ("s", "c", "d")
    found = find(condition(minus=minus, beside=beside, at_most=0), Archive(root))
    one, other = ERRORS["a"] - ERRORS["b"], ERRORS["b"] ** 2 - np.sqrt(ERRORS["a"])
    expected = stats.ttest_rel(one, other).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.estimate == pytest.approx((one - other).mean())
    said = told(found, Archive(root))
    assert "minus b, beyond the same difference of c and d, at most 0 points" in said["said"]


def test_the_whole_interval_may_have_to_keep_the_limit(recorded: Recorded) -> None:
    root = recorded(ERRORS)
    limit = float(ERRORS["a"].mean()) + 1e-3
    assert find(condition(at_most=limit), Archive(root)).met is True
    assert find(condition(at_most=limit, whole_interval=True), Archive(root)).met is False
    assert find(condition(at_least=limit), Archive(root)).met is False


def test_points_may_differ_by_a_share_of_their_mean(recorded: Recorded) -> None:
    found = find(
        condition(points=("a", "b"), statistic="range", at_most=1), Archive(recorded(ERRORS))
    )
    means = sorted(values.mean() for values in ERRORS.values())
    assert found.estimate == pytest.approx((means[1] - means[0]) / np.mean(means))
    assert found.low < found.estimate < found.high


def test_seeds_may_spread_by_a_share_of_their_mean(recorded: Recorded) -> None:
    found = find(condition(statistic="spread", at_most=1), Archive(recorded(ERRORS)))
    assert found.estimate == pytest.approx(ERRORS["a"].std(ddof=1) / ERRORS["a"].mean())
    assert found.low < found.estimate < found.high


def test_a_mean_may_be_a_multiple_of_another(recorded: Recorded) -> None:
    found = find(
        condition(points=("a", "b"), statistic="ratio", at_most=2), Archive(recorded(ERRORS))
    )
    assert found.estimate == pytest.approx(ERRORS["a"].mean() / ERRORS["b"].mean())
    assert found.low < found.estimate < found.high


def test_a_mean_may_be_beyond_the_interval_of_another(recorded: Recorded) -> None:
    found = find(
        condition(points=("a", "b"), statistic="beyond", at_most=0), Archive(recorded(ERRORS))
    )
    limit = stats.ttest_1samp(ERRORS["b"], 0).confidence_interval().high
    own = stats.ttest_1samp(ERRORS["a"], 0).confidence_interval()
    assert found.estimate == pytest.approx(ERRORS["a"].mean() - limit)
    assert (found.low, found.high) == pytest.approx((own.low - limit, own.high - limit))


def test_seeds_are_alike_that_end_within_one_of_the_common_number(recorded: Recorded) -> None:
    root = recorded({"a": np.array([4, 5, 5, 6, 7.0]), "b": np.array([5, 5, 6, 6, 9.0])})
    both = condition(points=("a", "b"), statistic="alike", at_least=4, seeds=5)
    # The lower of the two in the middle of all ten is 5; 7 and 9 are more than 1 away.
    assert (find(both, Archive(root)).estimate, find(both, Archive(root)).met) == (4.0, True)
    one = condition(points=("a",), statistic="alike", at_least=5, seeds=5)
    assert find(one, Archive(root)).met is False


def test_the_worst_seed_may_count(recorded: Recorded) -> None:
    found = find(condition(statistic="largest", at_most=1.59), Archive(recorded(ERRORS)))
    assert found.estimate == ERRORS["a"].max()
    assert found.met is False


def test_derived_measures_can_be_claimed(recorded: Recorded) -> None:
    assert (
        find(condition(metric="weights_percent", at_most=10), Archive(recorded(ERRORS))).estimate
        == 10
    )


ONE = """
[one]
text = "It is accurate"
short = "accurate"
source = "question"
conditions = [{ study = "s", points = ["a"], metric = "test_error_percent", at_most = 9 }]
"""


def at_95(point: str, limit: float, *more: str) -> str:
    """One more condition."""
    where = f'study = "s", points = ["{point}"], metric = "error_at_95"'
    return f"{{ {', '.join([where, f'at_most = {limit}', *more])} }}"


@pytest.mark.parametrize(
    ("limits", "verdict"), [((1.6, 1.8), "holds"), ((1.4, 1.8), "fails"), ((1.4, 1.4), "fails")]
)
def test_a_claim_holds_if_all_conditions_are_met_and_fails_otherwise(
    recorded: Recorded, limits: tuple[float, float], verdict: str
) -> None:
    both = f"at_most = {limits[0]} }}, {at_95('a', limits[1])}]"
    (claim,) = decided(Archive(recorded(ERRORS, claims=ONE.replace("at_most = 9 }]", both))))
    assert claim["verdict"] == verdict
    first_unmet = [limit for limit in limits if limit == 1.4]
    assert claim["headline"]["at_most"] == (first_unmet or limits)[0]


@pytest.mark.parametrize("limit", [1.4, 9])
def test_a_control_condition_does_not_count(recorded: Recorded, limit: float) -> None:
    both = f"at_most = 9 }}, {at_95('b', limit, 'control = true')}]"
    (claim,) = decided(Archive(recorded(ERRORS, claims=ONE.replace("at_most = 9 }]", both))))
    assert claim["verdict"] == "holds"
    assert "control, does not count" in as_text([claim], verbose=True)
    assert "Control, does not count" in item(claim)


def test_a_verdict_is_clear_if_whole_intervals_say_the_same(recorded: Recorded) -> None:
    mean = float(ERRORS["a"].mean())
    (barely,) = decided(Archive(recorded(ERRORS, claims=ONE.replace("9 }", f"{mean + 1e-3} }}"))))
    assert (barely["verdict"], barely["clear"]) == ("holds", False)
    table = counts([barely, {**barely, "clear": True}, {**barely, "verdict": "fails"}])
    found = table.loc["Questions of ours"].to_dict()
    assert found == {
        "claims": 3,
        "holds": 2,
        "fails": 1,
        "open": 0,
        "whole interval": 1,
        "before": 2,
    }


def test_too_few_seeds_decide_nothing(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    root = recorded({"a": [1.0] * (SEEDS - 1)}, claims=ONE)
    shutil.copy(ROOT / "studies" / "published.csv", root / "studies")
    assert main(["ledger", "--json", "--root", str(root)]) == 0
    ledger = json.loads(capsys.readouterr().out)
    assert ledger["claims"][0]["verdict"] == "open"
    assert ledger["claims"][0]["conditions"][0]["estimate"] is None
    assert {row["point"] for row in ledger["published"]} == {None}
    assert main(["ledger", "--root", str(root), "--verbose"]) == 0
    text = capsys.readouterr().out
    assert "9 of 10 seeds" in text
    assert "pruning-core study run s" in text
    assert text.splitlines()[-1].endswith("0 fail, 1 open")


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("unknown keys", ("metric", "metrics")),
        ("statistic is 'median'", ("metric =", 'statistic = "median", metric =')),
        ("needs at_most or at_least", (", at_most = 9", "")),
        ("2 points, but the statistic 'mean' is of 1", ('["a"]', '["a", "b"]')),
        ("points is []; a list of names", ('["a"]', "[]")),
        ("'points'", ('points = ["a"], ', "")),
        ("'conditions'", ("conditions", "condition")),
        ("source is 'here'", ('"question"', '"here"')),
        ("no condition that counts", ("at_most = 9", "at_most = 9, control = true")),
        ("no condition that counts", ("[{", "[] # [{")),
        ("the limit is '9'; a finite number", ("at_most = 9", 'at_most = "9"')),
        ("the limit is nan; a finite number", ("at_most = 9", "at_most = nan")),
        ("seeds is 'ten'; a number, at least 1", ("at_most = 9", 'at_most = 9, seeds = "ten"')),
        ("a study, a point and a metric", ("at_most = 9", 'at_most = 9, minus = ["s"]')),
        ("a study, a point and a metric", ("at_most = 9", 'at_most = 9, minus = ["s", "b", 3]')),
        ("a study and two points of it", ("at_most = 9", 'at_most = 9, beside = ["s", "b", "c"]')),
        (
            "a study and two points of it",
            ("at_most", 'minus = ["s", "b", "c"], beside = ["s"], at_most'),
        ),
        (
            "minus does not go with",
            ("at_most", 'statistic = "front", minus = ["s", "b", "c"], at_most'),
        ),
        ("'line' needs minus", ("metric =", 'statistic = "line", metric =')),
        ("the limit is True; a finite number", ("at_most = 9", "at_most = true")),
        ("the limit is [9]; a finite number", ("at_most = 9", "at_most = [9]")),
        ("seeds is True; a number, at least 1", ("at_most = 9", "at_most = 9, seeds = true")),
        (
            "seeds is 1; a number, at least 2",
            ("at_most", 'statistic = "spread", seeds = 1, at_most'),
        ),
        (
            "seeds is 1; a number, at least 2",
            ("at_most", "whole_interval = true, seeds = 1, at_most"),
        ),
        ("points is [1]; a list of names", ('["a"]', "[1]")),
        ("control is 'no'; true or false", ("at_most = 9", 'at_most = 9, control = "no"')),
        ("metric is 3; text", ('"test_error_percent"', "3")),
        ("text is 3; text", ('"It is accurate"', "3")),
        ("lacks 'short'", ('short = "accurate"', "")),
        ("conditions is 3; a list", ("conditions = [", "conditions = 3 # [")),
        ("condition is 3; a table", ("conditions = [", "conditions = [3] # [")),
        ("two is 3; a table", ("[one]", "two = 3\n[one]")),
    ],
)
def test_a_wrong_claim_is_named(tmp_path: Path, words: str, change: tuple[str, str]) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(ONE.replace(*change, 1))
    with pytest.raises(StudyError, match=re.escape(words)):
        load_claims(path)


def others(**columns: list[float]) -> pd.DataFrame:
    """Results of others: sizes, errors and the decimals that they were printed with."""
    return pd.DataFrame(columns).assign(name="other")


def test_a_front_asks_how_much_smaller_the_smallest_as_accurate_is() -> None:
    rows = pd.DataFrame({"weights_percent": [9.0, 11.0], "test_error_percent": [1.56, 1.62]})
    rivals = others(
        weights_percent=[4.0, 2.0, 1.0, 50.0],
        error_percent=[1.6, 1.7, 1.601, 1.0],
        digits=[1, 1, 3, 1],
    )
    # 1.59 is no better than a printed 1.6, but better than 1.7 and than 1.601.
    assert front(rows, rivals, "weights_percent")[0] == pytest.approx(10 / 4)
    assert front(rows, rivals.iloc[[1, 2]], "weights_percent")[0] == 0
    estimate, low, high = front(rows, rivals.iloc[[3]], "weights_percent")
    assert low == pytest.approx(9 / 50)
    assert (estimate, high) == pytest.approx((10 / 50, 11 / 50))
    assert front(rows, rivals.assign(weights_percent=np.nan), "weights_percent")[0] == 0


def test_a_lead_is_over_the_most_accurate_of_those_no_larger() -> None:
    rows = pd.DataFrame({"weights_percent": [9.0, 11.0], "test_error_percent": [1.5, 1.7]})
    rivals = others(
        weights_percent=[10.0, 3.0, 10.1], error_percent=[1.5, 1.8, 1.0], digits=[1, 1, 1]
    )
    assert lead(rows, rivals, "weights_percent")[0] == pytest.approx(1.6 - 1.5)
    assert lead(rows, rivals.iloc[[2]], "weights_percent")[0] == -np.inf
    assert lead(rows, rivals.iloc[[1]], "weights_percent")[2] == pytest.approx(1.7 - 1.8)


def runs_of(size: float, error: float, spread: float = 0.0) -> pd.DataFrame:
    """Ten runs around a size and an error."""
    steps = np.linspace(-1, 1, 10)
    return pd.DataFrame(
        {"weights_percent": size * (1 + 0 * steps), "test_error_percent": error + spread * steps}
    )


def test_a_point_lies_beside_a_curve_at_its_own_size() -> None:
    others = [runs_of(16.0, 1.0), runs_of(1.0, 3.0), runs_of(4.0, 2.0)]
    for size, expected in ((2.0, 2.5), (8.0, 1.5), (4.0, 2.0), (0.5, 3.0), (20.0, 1.0)):
        found = beside(runs_of(size, 1.75), others, "weights_percent")
        assert found == pytest.approx((1.75 - expected,) * 3)
    # The interval is that of the difference of two means, here of ten and of twenty seeds' weight.
    others = [runs_of(1.0, 3.0, 0.4), runs_of(4.0, 2.0, 0.4)]
    own = runs_of(2.0, 1.75, 0.3)
    found = beside(own, others, "weights_percent")
    variance = [rows["test_error_percent"].var(ddof=0) / 10 for rows in (own, *others)]
    deviation = (variance[0] + variance[1] / 4 + variance[2] / 4) ** 0.5
    assert found[0] == pytest.approx(-0.75)
    assert found[2] - found[1] == pytest.approx(2 * 1.96 * deviation, rel=0.06)


def test_a_condition_may_look_beside_the_points_of_another_study(recorded: Recorded) -> None:
    root = recorded(ERRORS)
    archive = Archive(root)
    asked = condition(statistic="line", minus=("s", "b", "weights_percent"), at_most=0)
    found = find(asked, archive)
    # Of one point alone, the curve is its mean, whatever the size.
    assert found.estimate == pytest.approx(ERRORS["a"].mean() - ERRORS["b"].mean())
    assert found.low < found.estimate < found.high
    assert found.n == SEEDS
    said = told(found, archive)
    assert "minus that of the line from b to b at the same size" in said["said"]
    assert said["number"].endswith("points ≤ 0")
    missing = condition(statistic="line", minus=("s", "c", "weights_percent"), at_most=0)
    with pytest.raises(StudyError, match="s has no point whose name begins with 'c'"):
        find(missing, archive)
    assert find(replace(asked, seeds=SEEDS + 1), archive).met is None


@pytest.mark.slow
def test_every_estimate_of_the_ledger_is_found_in_the_record_again(claims: Claims) -> None:
    """Means, spreads and ranges once more, from the files alone."""

    def sections(model: str, architecture: str) -> int:
        """Of a residual network: behind its stream, and the pixels of a perceptron."""
        before = 2 if model == "residual-perceptron" else 1
        return sum(size != "0" for size in architecture.split("-")[before:])

    def seeds(study: str, point: str, metric: str) -> pd.Series:
        rows = pd.read_csv(ROOT / "results" / f"{study}.csv").rename(columns={"penalty": "point"})
        if study not in ALONE:
            declared = load_study(study, ROOT / "studies").runs
            keys = [run.key for run in declared if run.point == point]
            rows = rows.loc[rows["run"].isin(keys)].assign(point=point)
        rows = rows.loc[rows["point"] == point].set_index("seed")
        if study in ALONE:
            return rows[metric]
        columns: dict[str, Callable[[], pd.Series]] = {
            "weights_percent": lambda: 100 * rows["weights_kept"] / rows["weights_total"],
            "macs_percent": lambda: 100 * rows["macs"] / rows["macs_dense"],
            "undecided_percent": lambda: 100 * rows["undecided"] / rows["surviving_units"],
            "sampling_gap": lambda: abs(
                rows["stochastic_test_error_percent"] - rows["deterministic_test_error_percent"]
            ),
            "returned_10_percent": lambda: 100 * rows["returned_10"] / rows["declared_dead"],
            "open_again_percent": lambda: 100 * rows["open_again"] / rows["declared_dead"],
            "sections_left": lambda: pd.Series(
                [*map(sections, rows["model"], rows["architecture"])], index=rows.index
            ),
        }
        return columns.get(metric, lambda: rows[metric])()

    compared = 0
    for claim in claims:
        verdicts = []
        for c in claim["conditions"]:
            if (
                c["estimate"] is None
                or c["metric"] == "departure_percent"
                or c["statistic"] in ("front", "lead", "line")
            ):
                verdicts.append(c["met"])
                continue
            values = [seeds(c["study"], point, c["metric"]) for point in c["points"]]
            if c["minus"]:
                values = [(v - seeds(*c["minus"])).dropna() for v in values]
            if c["beside"]:
                study, *pair = c["beside"]
                first, second = (seeds(study, point, c["metric"]) for point in pair)
                values = [(v - first + second).dropna() for v in values]
            means = [v.mean() for v in values]
            expected = means[0]
            if c["statistic"] == "spread":
                expected = values[0].std() / means[0]
            elif c["statistic"] == "range":
                expected = (max(means) - min(means)) / np.mean(means)
            elif c["statistic"] == "ratio":
                expected = means[0] / means[1]
            elif c["statistic"] == "beyond":
                half = stats.t.ppf(0.975, len(values[1]) - 1) * values[1].sem()
                expected = means[0] - (means[1] + half)
            elif c["statistic"] == "alike":
                common = sorted(pd.concat(values))[(sum(map(len, values)) - 1) // 2]
                expected = min(int((abs(v - common) <= 1).sum()) for v in values)
            assert c["estimate"] == pytest.approx(expected), (claim["name"], c["said"])
            ends = (c["low"], c["high"]) if c["whole_interval"] else (expected, expected)
            inside = (
                ends[1] <= c["at_most"] if c["at_most"] is not None else ends[0] >= c["at_least"]
            )
            verdicts.append(None if c["n"] < c["seeds"] else inside)
            compared += 1
        counted = [
            v for v, c in zip(verdicts, claim["conditions"], strict=True) if not c["control"]
        ]
        expected_verdict = "open" if None in verdicts else "holds" if all(counted) else "fails"
        assert claim["verdict"] == expected_verdict, claim["name"]
    assert compared > 60


def test_every_sentence_of_an_abstract_has_what_decides_it(claims: Claims) -> None:
    found = abstracts(ARCHIVE)
    sentences = [sentence for abstract in found for sentence in abstract["sentences"]]
    for sentence in sentences:
        assert ("claims" in sentence) != ("derived" in sentence), sentence["says"]
        if "derived" in sentence:
            assert (ROOT / "book" / f"{sentence['derived']}.ipynb").is_file()
    told = Counter(name for sentence in sentences for name in sentence.get("claims", ()))
    sources = ("abstract", "successor")
    assert told == Counter(c["name"] for c in claims if c["source"] in sources)
    assert all(abstract["not_tested"] for abstract in found)


ABSTRACT = """
[a]
paper = "P"
method = "M"
not_tested = ["all else"]

[[a.sentences]]
says = "S"
claims = ["two"]
"""


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("a lacks 'paper'", ('paper = "P"', "")),
        ("a lacks 'not_tested'", ('not_tested = ["all else"]', "")),
        ("a: method is 3; text was expected", ('"M"', "3")),
        ("a: not_tested is 'all else'; a list was expected", ('["all else"]', '"all else"')),
        ("a, sentence lacks 'says'", ('says = "S"', "")),
        ("a, sentence: claims is 'two'; a list was expected", ('["two"]', '"two"')),
    ],
)
def test_a_wrong_abstract_is_named(
    recorded: Recorded, words: str, change: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = recorded(ERRORS, claims=ONE)
    (root / "studies" / "abstracts.toml").write_text(ABSTRACT.replace(*change))
    assert main(["ledger", "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert f"abstracts.toml cannot be read: {words}" in error
    assert error.count("\n") == 1


def test_where_nothing_is_declared_the_folder_can_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["ledger"], ["ledger", "--published"], ["ledger", "--json"]):
        assert main([*command, "--root", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert str(tmp_path / "studies") in error
        assert "--root" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("relative_error", "error"), "the columns relative_error are missing"),
        (("0.1", "a tenth"), "relative_error: a number was expected"),
        (("seed,", "seed,\x00"), "is damaged"),
    ],
)
def test_a_damaged_record_of_feature_selection_is_named(
    recorded: Recorded,
    change: tuple[str, str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    claim = ONE.replace('"s"', '"feature-selection"').replace(
        "test_error_percent", "relative_error"
    )
    root = recorded(ERRORS, claims=claim.replace("at_most", "seeds = 1, at_most"))
    table = "penalty,seed,relative_error,selected_relevant,selected_irrelevant,support_exact\n"
    path = root / "results" / "feature-selection.csv"
    path.write_text(f"{table}a,0,0.1,10,3,0\n")
    assert main(["ledger", "--root", str(root)]) == 0
    capsys.readouterr()
    path.write_text(path.read_text().replace(*change))
    assert main(["ledger", "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert "feature-selection.csv is damaged" in error
    assert words in error
    assert "git" in error
    assert error.count("\n") == 1


def test_feature_selection_shows_what_the_folder_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    shutil.copy(feature_selection.RESULTS, tmp_path / "results")
    assert feature_selection.main(["--root", str(tmp_path)]) == 0
    assert "lasso" in capsys.readouterr().out
    (tmp_path / feature_selection.FILE).write_text("penalty\nlasso\n")
    assert feature_selection.main(["--root", str(tmp_path)]) == 2
    assert str(tmp_path / feature_selection.FILE) in capsys.readouterr().err


def test_an_abstract_that_names_an_unknown_claim_is_told(recorded: Recorded) -> None:
    root = recorded(ERRORS, claims=ONE)
    assert abstracts(Archive(root)) == []
    path = root / "studies" / "abstracts.toml"
    path.write_text(ABSTRACT)
    with pytest.raises(StudyError, match=r"names claims that claims\.toml lacks: two"):
        abstracts(Archive(root))


def ledger(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["ledger", "--root", str(ROOT), *flags]) == 0
    return capsys.readouterr().out


def rows_of(lines: list[str]) -> list[str]:
    """Those with a claim."""
    return [line for line in lines if re.match(" {4}[✓✗?] ", line)]


def test_the_command_line_answers_both_abstracts_on_its_first_screen(
    claims: Claims, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ledger(capsys).splitlines()
    assert max(map(len, lines)) <= 80
    of_both = [i for i, line in enumerate(lines) if line.startswith("  Not tested")][:2]
    assert max(of_both) < 55
    for abstract in abstracts(ARCHIVE):
        for sentence in abstract["sentences"]:
            place = lines.index(f"  {sentence['says']}")
            below = "\n".join(lines[place + 1 : place + 1 + len(sentence.get("claims", ()))])
            for claim in named(claims, *sentence.get("claims", ())):
                when = claim["declared"].removesuffix(" its runs")
                row = rf"{claim['verdict']} +{when} +{re.escape(claim['short'])} "
                assert re.search(row, below), claim["name"]
                assert (claim["headline"]["number"] or "seeds") in below
    hold = sum(claim["verdict"] == "holds" for claim in claims)
    assert lines[-1].startswith(f"{len(claims)} claims: {hold} hold, ")


def test_published_results_stand_beside_ours_in_as_many_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = ledger(capsys, "--published").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  VIBNet ") for line in lines)


def test_before_any_run_everything_is_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a reader finds it who repeats the studies in a folder without results."""
    shutil.copytree(ROOT / "studies", tmp_path / "studies")
    assert main(["ledger", "--root", str(tmp_path)]) == 0
    claims = len(load_claims(ROOT / "studies" / "claims.toml"))
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"0 fail, {claims} open")


def test_no_machine_names_reach_a_reader(
    claims: Claims, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a column, nor a study or a point by the name that its file gives it."""
    text = ledger(capsys, "--verbose") + "".join(map(item, claims))
    assert not re.search(r"\.\.(?!\.)", text.replace("...", "")), "two full stops"
    text += ledger(capsys, "--published")
    text = re.sub(
        r"pruning-core study run [\w-]+|python -m [\w.]+|claim-[\w-]+|book/[\w.-]+", "", text
    )
    points = {p for c in claims for x in c["conditions"] for p in x["points"]}
    columns = {x["metric"] for c in claims for x in c["conditions"]}
    for name in {p for p in points if "=" in p} | {c for c in columns if "_" in c}:
        assert name not in text
    for claim in claims:
        for x in claim["conditions"]:
            assert x["metric"] not in x["said"] or x["metric"] in ("zeros_percent",), x["said"]


def test_sources_are_shown_apart(
    claims: Claims, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pruning_core.studies.ledger.decided", lambda _: claims)
    monkeypatch.setattr("pruning_core.studies.published.compared", lambda _: [])
    for source in SOURCES:
        found = json.loads(ledger(capsys, "--source", source, "--json"))
        assert [c["name"] for c in found["claims"]] == [
            c["name"] for c in claims if c["source"] == source
        ]
        text = ledger(capsys, "--source", source)
        sentences = source in ("abstract", "successor") and "Not tested" in text
        assert SOURCES[source] in text or sentences
        assert len(rows_of(text.splitlines())) == len(found["claims"])


def test_an_interval_that_reaches_across_is_told_everywhere(claims: Claims) -> None:
    across = [c for c in claims if any(x["clear"] is False for x in c["conditions"])]
    assert across
    for claim in across:
        assert "reaches across the limit" in re.sub(r"\s+", " ", as_text([claim], verbose=True))
        assert "reaches across the limit" in item(claim).replace("\N{NO-BREAK SPACE}", " ")
        if claim["headline"]["clear"] is False:
            assert as_text([claim]).splitlines()[-2].endswith("*")


@pytest.mark.parametrize(
    ("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_shows_verdicts_in_colour_unless_asked_not_to(
    variables: dict[str, str],
    coloured: bool,
    claims: Claims,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a terminal of its own, as script(1) would give it."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | variables).items():
        monkeypatch.setenv(name, value)
    main_end, program_end = os.openpty()
    with os.fdopen(program_end, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        print(as_text([claim for claim in claims if claim["verdict"] == "holds"][:3]))
        monkeypatch.undo()
    text = os.read(main_end, 4_000).decode()
    os.close(main_end)
    assert ("\x1b[32m✓ holds\x1b[0m" in text) is coloured
    assert ("\x1b" in text) is coloured
    assert "✓ holds" in text


def test_an_unknown_point_or_metric_lists_the_known(recorded: Recorded) -> None:
    root = recorded(ERRORS)
    with pytest.raises(StudyError, match="no point 'c'; it has a, b"):
        find(condition(points=("c",), at_most=1), Archive(root))
    with pytest.raises(StudyError, match="no metric 'error'; it has seed, epochs"):
        find(condition(metric="error", at_most=1), Archive(root))


def test_an_interval_may_reach_across_the_limit(recorded: Recorded) -> None:
    root = recorded(ERRORS)
    mean, half = ERRORS["a"].mean(), stats.sem(ERRORS["a"]) * stats.t.ppf(0.975, SEEDS - 1)
    for shift, clear in ((0.5 * half, False), (1.5 * half, True)):
        assert find(condition(at_most=mean + shift), Archive(root)).clear is clear
        assert find(condition(at_least=mean + shift), Archive(root)).clear is clear
        assert find(condition(at_most=mean - shift), Archive(root)).clear is clear
    assert find(condition(statistic="largest", at_most=9), Archive(root)).clear is None
    assert find(condition(seeds=SEEDS + 1, at_most=9), Archive(root)).clear is None


def test_a_claim_on_the_page_has_its_words_its_verdict_and_its_numbers(claims: Claims) -> None:
    claim: dict[str, Any] = claims[0] | {"text": "a < b et al.", "verdict": "holds"}
    html = item(claim)
    assert "a &lt; b et al.</p>" in html
    assert '<strong class="verdict holds"><span aria-hidden="true">✓</span> holds</strong>' in html
    plain = html.replace("\N{NO-BREAK SPACE}", " ")
    for found in claim["conditions"]:
        assert found["found"] in plain
        assert f"<code>{found['command']}</code>" in html
    assert claims[0]["note"] in plain


def test_claims_are_found_by_name(claims: Claims) -> None:
    (claim,) = named(claims, "deterministic")
    assert item(claim).count("<li>") == len(claim["conditions"]) == 4
    with pytest.raises(ValueError, match=r"no claims \['nothing'\]; there are early-departure"):
        named(claims, "deterministic", "nothing")


def test_a_difference_needs_the_runs_of_both_studies(claims: Claims) -> None:
    (claim,) = named(claims, "halo-against-magnitude")
    for study in ("halo-lenet-300-100", "baselines-lenet-300-100"):
        assert f"<code>pruning-core study run {study}</code>" in item(claim)
        assert f"      pruning-core study run {study}" in as_text([claim], verbose=True)


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
    for source in ("abstract", "successor"):
        assert first_screen(abstracts(ARCHIVE, source), claims) in shown
    text = "".join(o.text for o in outputs if o.get("name") == "stdout")
    assert last_line(claims) in text


def test_the_page_and_the_command_line_agree(
    claims: Claims, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row by row of the abstracts: verdict, number and when it was declared."""
    page = first_screen(abstracts(ARCHIVE, "abstract"), claims).replace("\N{NO-BREAK SPACE}", " ")
    row = re.compile(
        r'#claim-[\w-]+">(.+?)</a></td><td>(.+?)</td><td><strong class="verdict (\w+)">.*?'
        r"</td><td>(\w+)</td>"
    )
    on_page = [
        (short, re.sub("<.+?>", "", number), verdict, when)
        for short, number, verdict, when in row.findall(page)
    ]
    lines = ledger(capsys, "--source", "abstract").splitlines()
    in_terminal = rows_of(lines)
    assert len(on_page) == len(in_terminal) == sum(c["source"] == "abstract" for c in claims)
    for (short, number, verdict, when), line in zip(on_page, in_terminal, strict=True):
        words = line.split(maxsplit=3)
        assert (words[1], words[2]) == (verdict, when)
        assert words[3].startswith(short)
        assert words[3].removeprefix(short).strip() == number


def test_every_claim_of_the_project_can_be_looked_up(claims: Claims) -> None:
    for claim in claims:
        assert claim["verdict"] in VERDICTS, claim["name"]
        assert claim["text"]
        assert claim["declared"] in ("before its runs", "after its runs")
