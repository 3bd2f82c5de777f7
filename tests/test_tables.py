from pathlib import Path

import pytest

from pruning_core.studies import tables
from pruning_core.studies.declaration import StudyError

ROOT = Path(__file__).parents[1]


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


def test_verdicts_have_a_line_for_each_condition() -> None:
    assert tables.verdicts(ROOT, ["deterministic"]).count("\n- ") == 4


def test_an_unknown_claim_is_an_error() -> None:
    with pytest.raises(StudyError, match="no claims \\['nothing'\\]"):
        tables.verdicts(ROOT, ["nothing"])
