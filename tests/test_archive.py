"""An archive reads each file once, and sees every change."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pruning_core.cli import main
from pruning_core.studies import ROOT
from pruning_core.studies.archive import Archive
from pruning_core.studies.claims import all_claims
from pruning_core.studies.declaration import StudyError, load_study
from pruning_core.studies.records import measures, table, trajectories

HERE = Path(__file__).parents[1]
DECLARATION = 'title = "T"\nseeds = 2\n[settings]\nmodel = "lenet-5"\nmethod = "dense"\n'


def test_the_repositorys_is_a_path_to_its_files() -> None:
    assert Path(ROOT) == HERE.resolve()
    assert ROOT.studies == ROOT / "studies"
    assert (ROOT / "studies" / "claims.toml").is_file()
    assert "lenet-5" in ROOT.names()


def test_it_holds_what_the_files_do() -> None:
    archive = Archive(str(HERE))
    study = load_study("lenet-5", HERE / "studies")
    assert archive.study("lenet-5") == study
    rows = table(study, HERE / "results")
    pd.testing.assert_frame_equal(archive.table("lenet-5"), rows)
    pd.testing.assert_frame_equal(archive.rows("lenet-5"), measures(rows))
    epochs = trajectories(study, HERE / "results")
    pd.testing.assert_frame_equal(archive.trajectories("lenet-5"), epochs)
    assert all_claims(archive)[0].conditions


@pytest.mark.parametrize("flags", [[], ["--published"], ["--json"]])
def test_the_ledger_reads_each_file_once(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[object] = []

    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(what: object, *args: Any, **options: Any) -> Any:
            read.append(what)
            return function(what, *args, **options)

        return call

    monkeypatch.setattr(pd, "read_csv", noted(pd.read_csv))
    monkeypatch.setattr(tomllib, "loads", noted(tomllib.loads))
    assert main(["ledger", "--root", str(HERE), *flags]) == 0
    assert capsys.readouterr().out
    assert len(read) == len(set(read)) > 10


def test_nobody_changes_what_the_others_read() -> None:
    archive = Archive(HERE)
    for found in (archive.table, archive.rows, archive.trajectories):
        first = found("reproduce")
        first["run"] = "other"
        assert "other" not in set(found("reproduce")["run"])
    all_claims(archive).clear()
    assert all_claims(archive)


def test_it_sees_every_change(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.names() == []
    with pytest.raises(StudyError, match="--root"):
        archive.study("s")
    archive.studies.mkdir()
    path = archive.studies / "s.toml"
    path.write_text(DECLARATION)
    assert archive.names() == ["s"]
    assert len(archive.study("s").runs) == 2
    assert archive.study("s") is archive.study("s")
    assert not len(archive.table("s"))
    # As long as before, and within the clock's resolution of it.
    before = path.stat()
    renamed = path.with_suffix(".new")
    renamed.write_text(DECLARATION.replace("2", "3"))
    os.utime(renamed, ns=(before.st_atime_ns, before.st_mtime_ns))
    renamed.replace(path)
    assert len(archive.study("s").runs) == 3


@pytest.mark.slow
def test_whoever_only_trains_needs_no_pandas() -> None:
    program = (
        "import sys; sys.modules['pandas'] = None; sys.modules['scipy'] = None\n"
        "import pruning_core.cli; from pruning_core.studies import ROOT; print(ROOT.names()[0])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() in ROOT.names()
