"""Damaged and edited files of results/: one line that names the file, the place and the remedy."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pruning_core.cli import main
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError, load_study
from pruning_core.studies.record_files import not_numbers, read_epochs, read_rows, settings_of
from pruning_core.studies.records import record

ROOT = Path(__file__).parents[1]
RECORDED = sorted((ROOT / "results").glob("*.parquet"))
DECLARATION = """
title = "A trial"
seeds = 2
[settings]
model = "lenet-5"
method = "dense"
[points.one]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two recorded runs of the study "trial"."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "trial.toml").write_text(DECLARATION)
    (tmp_path / "studies" / "claims.toml").touch()
    study = load_study("trial", tmp_path / "studies")
    sizes = [20, 50, 800, 500]
    counts = {"weights_kept": 9, "weights_total": 10, "macs": 5, "macs_dense": 5}
    summary = {"architecture": sizes, "architecture_dense": sizes, "device": "cpu"} | counts
    summary |= {"test_error_percent": 1.5, "seconds": 1.0, "versions": {}}
    epoch = {"epoch": 1, "architecture": sizes, "weights_kept": 9, "loss": 0.1}
    for run in study.runs:
        settings = {"model": "lenet-5", "method": "dense", "epochs": 1, "seed": run.settings.seed}
        record(study, tmp_path / "results", {run.key: (summary | {"settings": settings}, [epoch])})
    return tmp_path


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_what_the_project_recorded_is_sound(path: Path) -> None:
    rows, epochs = read_rows(path.with_suffix(".csv")), read_epochs(path)
    assert set(rows["run"]) == set(epochs["run"])
    for settings, row in zip(settings_of(rows), rows.to_dict("records"), strict=True):
        assert (settings.seed, settings.method) == (row["seed"], row["method"])
        assert settings.log_gamma == tuple(json.loads(row["settings"])["log_gamma"])


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_multiply_accumulates_are_counted_in_one_way(path: Path) -> None:
    """Those of the trained network and those of its training: layer by layer, biases included."""

    @cache
    def macs(model: str, *units: int) -> int:
        if model == "residual-perceptron":
            pixels, width, *inner = units
            sections = sum((width + 1) * n + (n + 1) * width for n in inner if n)
            return (pixels + 1) * width + sections + (width + 1) * 10
        if model == "residual-cnn":
            width, *inner = units
            sections = sum((9 * width + 1) * n + (n + 1) * width for n in inner if n)
            return 7 * 7 * ((25 + 1) * width + sections) + (7 * 7 * width + 1) * 10
        if model == "lenet-5-skip":
            filters, more, maps, hidden = units
            paths = 4 * 4 * (filters + 1) * maps + (4 * 4 * maps + 1) * 10
            sections = 8 * 8 * (25 * filters + 1) * more if more else 0
            sections += (4 * 4 * maps + 1) * hidden + (hidden + 1) * 10 if hidden else 0
            return 24 * 24 * (25 + 1) * filters + paths + sections
        if len(units) == 3:
            pixels, first, second = units
            return (pixels + 1) * first + (first + 1) * second + (second + 1) * 10
        filters, more, features, hidden = units
        convolutions = 24 * 24 * (25 + 1) * filters + 8 * 8 * (25 * filters + 1) * more
        return convolutions + (features + 1) * hidden + (hidden + 1) * 10

    rows, epochs = read_rows(path.with_suffix(".csv")), read_epochs(path)
    after = dict(list(epochs.sort_values("epoch")["architecture"].groupby(epochs["run"])))
    for row in rows.to_dict("records"):
        costs = [row["macs_dense"], *(macs(row["model"], *units) for units in after[row["run"]])]
        assert row["macs"] == costs[-1]
        share = 100 * sum(costs[:-1]) / (row["epochs"] * row["macs_dense"])
        assert row["training_macs_percent"] == pytest.approx(share, abs=1e-4)


Edit = Callable[[pd.DataFrame], pd.DataFrame]


def put(column: str, value: object) -> Edit:
    """Into the second row."""
    return lambda rows: rows.astype({column: object}).assign(**{column: [rows[column][0], value]})


@pytest.mark.parametrize("action", ["show", "status", "run"])
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda rows: pd.concat([rows, rows.iloc[:1]]), "has several rows of the run"),
        (lambda rows: rows.drop(columns="macs"), "damaged (the columns macs are missing)"),
        (lambda rows: rows.drop(columns=["run", "seed"]), "damaged (the columns run, seed are mis"),
        (put("test_error_percent", "low"), "test_error_percent of the run"),
        (put("weights_total", None), "is nan; a number was expected"),
        (put("weights_kept", "inf"), "a number was expected"),
        (put("seconds", "long"), "'long'; a number was expected"),
        (put("architecture", "20-50-x"), "'20-50-x'; sizes like 784-300-100 were expected"),
        (put("settings", "{"), "settings of the run"),
        (put("settings", "[]"), "settings of the run"),
        (put("settings", '{"model": "lenet-6"}'), "unknown model 'lenet-6'"),
        (put("settings", '{"epoch": 6}'), "unknown settings ['epoch']"),
    ],
)
def test_an_edited_table_is_named(
    root: Path, edit: Edit, words: str, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "results" / "trial.csv"
    edit(pd.read_csv(path)).to_csv(path, index=False)
    assert main(["study", action, "trial", "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert words in error
    assert "take it from git again" in error
    assert error.count("\n") == 1


def test_every_command_names_a_table_with_a_row_twice(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "results" / "trial.csv"
    rows = pd.read_csv(path)
    pd.concat([rows, rows]).to_csv(path, index=False)
    (root / "studies" / "claims.toml").write_text(
        '[one]\ntext = "T"\nshort = "S"\nsource = "question"\n'
        '[[one.conditions]]\nstudy = "trial"\npoints = ["one"]\nmetric = "macs"\nat_most = 9\n'
    )
    for command in (["study", "list"], ["ledger"], ["ledger", "--json"]):
        assert main([*command, "--root", str(root)]) == 2
        error = capsys.readouterr().err
        assert f"{path} has several rows of the run {rows['run'][0]}" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"\0" * 100, "half", "a byte", "run", "theta", "text"]
)
def test_a_damaged_trajectory_is_named(root: Path, content: bytes | str) -> None:
    path = root / "results" / "trial.parquet"
    whole = path.read_bytes()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "a byte":
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 0xFF]) + whole[-8:])
    elif content == "text":
        pd.read_parquet(path).assign(loss="low").to_parquet(path)
    else:
        pd.read_parquet(path).drop(columns=content).to_parquet(path)
    with pytest.raises(StudyError, match=r"trial\.parquet is damaged .* take it from git again"):
        Archive(root).trajectories("trial")


def test_empty_cells_are_numbers_only_where_there_may_be_none() -> None:
    cells = pd.Series([1, "2.5", None, "x", np.inf, float("nan")], dtype=object)
    assert not_numbers(cells, needed=False).tolist() == [False, False, False, True, True, False]
    assert not_numbers(cells, needed=True).tolist() == [False, False, True, True, True, True]
