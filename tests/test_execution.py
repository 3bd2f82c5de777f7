"""Runs of studies that fail, are ended from outside or read data of their own, on few images."""

import json
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from pruning_core.cli import main
from pruning_core.experiments.data import FILES, load
from pruning_core.studies import execution
from pruning_core.studies.declaration import load_study
from pruning_core.studies.execution import run_study, unfinished
from pruning_core.studies.records import table

PROGRAM = Path(sys.executable).with_name("pruning-core")
DECLARATION = """
title = "A trial"
seeds = 2
dataset = "./few"

[settings]
model = "lenet-300-100"
hidden = [20, 10]
batch_size = 8
method = "dense"
epochs = 2

[points.one]

[points.other]
learning_rate = 0.01
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the study "trial", and 64 images to train on."""
    return made(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder where the study has run."""
    folder = made(tmp_path_factory.mktemp("finished"))
    assert main(study(folder)) == 0
    return folder


def made(tmp_path: Path) -> Path:
    numbers = np.random.default_rng(0)
    (tmp_path / "few").mkdir()
    for name in FILES:
        if "images" in name:
            shape, high = (64, 28, 28), 256
        else:
            shape, high = (64,), 10
        header = struct.pack(f">{1 + len(shape)}I", 2048 + len(shape), *shape)
        content = numbers.integers(high, size=shape).astype(np.uint8)
        (tmp_path / "few" / name).write_bytes(header + content.tobytes())
    declare(tmp_path, DECLARATION)
    return tmp_path


def declare(root: Path, text: str) -> None:
    (root / "studies").mkdir(exist_ok=True)
    (root / "studies" / "trial.toml").write_text(text)


def recorded(root: Path) -> pd.DataFrame:
    return table(load_study("trial", root / "studies"), root / "results")


def study(root: Path, *flags: str) -> list[str]:
    return ["study", "run", "trial", "--root", str(root), *(flags or ("--jobs", "1"))]


def test_a_run_that_diverges_is_told_when_all_others_are_recorded(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declare(root, DECLARATION.replace("[points.one]", "[points.one]\nlearning_rate = 1e30"))
    assert main(study(root)) == 2
    head, *failures = capsys.readouterr().err.splitlines()
    assert head == "pruning-core: 2 of 4 runs failed; all others are recorded"
    assert 1 <= len(failures) <= 2
    for line in failures:
        assert re.match(r"  one, seeds? [01](, 1)?: the loss became (nan|inf) in epoch", line), line
    assert recorded(root)["point"].to_list() == ["other", "other"]

    before = {path: path.stat().st_mtime_ns for path in (root / "results").iterdir()}
    assert main(study(root)) == 2
    assert {path: path.stat().st_mtime_ns for path in (root / "results").iterdir()} == before
    declare(root, DECLARATION)
    assert main(study(root)) == 0
    assert len(recorded(root)) == 4


def test_an_error_nobody_thought_of_is_told_by_its_name(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = execution.train

    def trained(settings: Any, *args: Any, **options: Any) -> Any:
        if settings.seed == 1 and settings.learning_rate == 0.01:
            raise IndexError("no such\nunit")
        return train(settings, *args, **options)

    monkeypatch.setattr(execution, "train", trained)
    assert main(study(root)) == 2
    assert capsys.readouterr().err.splitlines() == [
        "pruning-core: 1 of 4 runs failed; all others are recorded",
        "  other, seed 1: IndexError: no such unit",
    ]
    assert len(recorded(root)) == 3


def changed(**values: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), **values})


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("summary.json", lambda text: text[:40]),
        ("summary.json", lambda text: "[]"),
        ("summary.json", lambda text: "{}"),
        ("summary.json", changed(test_error_percent=None)),
        ("summary.json", changed(test_error_percent="low")),
        ("summary.json", changed(weights_kept=[])),
        ("summary.json", changed(architecture=None)),
        ("summary.json", changed(settings={"seed": 0})),
        ("trajectory.json", lambda text: "[]"),
        ("trajectory.json", lambda text: '[{"epoch": 1}]'),
        ("trajectory.json", lambda text: "\0"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_recorded(
    finished: Path,
    file: str,
    change: Callable[[str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "copy"))
    shutil.rmtree(root / "results")
    key = load_study("trial", root / "studies").runs[2].key
    path = root / "runs" / key / file
    path.write_text(change(path.read_text()))
    capsys.readouterr()
    assert main(study(root)) == 2
    head, line = capsys.readouterr().err.splitlines()
    assert head.endswith("1 of 4 runs failed; all others are recorded")
    assert line.startswith(f"  other, seed 0: {root / 'runs' / key} is damaged (")
    assert "delete it" in line
    assert len(recorded(root)) == 3
    shutil.rmtree(root / "runs" / key)
    assert main(study(root)) == 0
    assert len(recorded(root)) == 4


@pytest.mark.parametrize("dataset", ["./few", "../few", "../root/few", "{absolute}"])
def test_a_folder_of_data_is_seen_from_the_folder_of_the_studies(
    root: Path, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "root"
    place.mkdir()
    if dataset in ("./few", "../root/few", "{absolute}"):
        (root / "few").rename(place / "few")
    declare(place, DECLARATION.replace("./few", dataset.format(absolute=place / "few")))
    monkeypatch.chdir("/")
    assert main(study(place)) == 0
    rows = recorded(place)
    assert len(rows) == 4
    flag = re.search(r"--data (\S+)", rows["command"].iloc[0])
    assert flag
    assert flag[1] == rows["dataset"].iloc[0]


@pytest.mark.parametrize("name", ["../trial", "sub/trial", "claims", "Trial", ""])
def test_only_names_of_studies_are_run(
    root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(root / "studies" / "trial.toml", root)
    (root / "studies" / "sub").mkdir()
    shutil.copy(root / "studies" / "trial.toml", root / "studies" / "sub")
    (root / "studies" / "claims.toml").touch()
    before = sorted(root.rglob("*"))
    assert main(["study", "run", name, "--root", str(root)]) == 2
    assert f"no study {name!r} in" in (error := capsys.readouterr().err)
    assert "there is trial" in error
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("flags", [[], ["--resume"]])
def test_no_other_run_is_written_over_a_finished_one(
    root: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(study(root)) == 0
    place = root / "runs" / load_study("trial", root / "studies").runs[0].key
    before = {path: path.read_bytes() for path in place.iterdir()}
    capsys.readouterr()
    command = ["train", "lenet-300-100", "--epochs", "1", "--data", str(root / "few")]
    assert main([*command, "--out", str(place), *flags]) == 2
    assert capsys.readouterr().err == (
        f"pruning-core: {place} already holds model.safetensors, model.json, trajectory.json, "
        "summary.json, and no checkpoint to continue from; choose another --out\n"
    )
    assert {path: path.read_bytes() for path in place.iterdir()} == before


def test_no_jobs_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(study(root, "--jobs", "0")) == 2
    error = capsys.readouterr().err
    assert error == (
        "pruning-core: 0 jobs were asked for; at least 1, or -1 for one a core, was expected\n"
    )
    assert not (root / "runs").exists()


def test_a_run_that_another_process_holds_is_left_to_it(root: Path) -> None:
    trial = load_study("trial", root / "studies")
    (root / "runs").mkdir()
    held = trial.runs[0]
    with FileLock(root / "runs" / f"{held.key}.lock"):
        assert execution.execute(held, root / "runs") is None
        other = execution.execute(trial.runs[1], root / "runs")
    assert isinstance(other, execution.Finding)
    assert isinstance(execution.execute(held, root / "runs"), execution.Finding)
    run_study(trial, root, jobs=1)
    assert not unfinished(trial, root)


LONG = DECLARATION.replace("epochs = 2", "epochs = 100_000")


def alive(session: int) -> list[str]:
    """Command lines of the processes of a session that have not ended."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, *numbers = (place / "stat").read_text().rpartition(") ")[2].split()
            if int(numbers[2]) == session and state != "Z":
                found.append((place / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return found


def waited(condition: Callable[[], object], process: subprocess.Popen[Any]) -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_study_ends_its_workers(root: Path, number: signal.Signals) -> None:
    declare(root, LONG)
    process = subprocess.Popen(
        [PROGRAM, *study(root, "--jobs", "2")],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    waited(lambda: len(list(root.glob("runs/*/checkpoint.pt"))) == 2, process)
    assert len(alive(process.pid)) >= 3
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "pruning-core: interrupted" in error
    assert "Traceback" not in error
    deadline = time.monotonic() + 60
    while (left := alive(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    for lock in root.glob("runs/*.lock"):
        with FileLock(lock, timeout=0):
            pass


def test_what_was_ignored_stays_ignored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nohup sets it."""
    found = []
    monkeypatch.setattr(execution, "run_study", lambda *args, **options: found.append(handlers()))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def handlers() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)]

    try:
        usual = handlers()
        assert main(study(root)) == 0
        assert found == [[signal.SIG_IGN, signal.default_int_handler]]
        assert handlers() == usual
    finally:
        signal.signal(signal.SIGHUP, before)


SURVIVORS = """
title = "A trial"
seeds = 1
first_seed = 3
dataset = "./few"

[settings]
model = "lenet-300-100"
hidden = [20, 10]
batch_size = 8
method = "dense"
epochs = 2
survivor_epochs = 2

[grid]
worst_case = [0, 0.3]
"""


def test_runs_that_differ_after_the_schedule_share_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And end as the runs that begin at the beginning, to the bit."""
    declare(root, SURVIVORS)
    train, begun = execution.train, []

    def trained(settings: Any, data: Any, place: Path, **options: Any) -> Any:
        begun.append((settings.worst_case, place.name, (place / "checkpoint.pt").exists()))
        return train(settings, data, place, **options)

    monkeypatch.setattr(execution, "train", trained)
    assert main(study(root)) == 0
    trial = load_study("trial", root / "studies")
    stem = f"{trial.runs[0].stem.key}-stem"
    assert begun == [
        (0.0, stem, False),
        (0.0, trial.runs[0].key, True),
        (0.0, stem, True),
        (0.3, trial.runs[1].key, True),
    ]
    rows = recorded(root)
    assert rows["epochs"].to_list() == [4, 4]
    assert rows["seed"].to_list() == [3, 3]

    data = load(root=root / "few")
    for run in trial.runs:
        train(run.settings, data, root / "whole" / run.key)
        one, two = ((root / f / run.key / "model.safetensors") for f in ("whole", "runs"))
        assert one.read_bytes() == two.read_bytes()

    begun.clear()
    assert main([*study(root), "--again", "only worst_case=0.3"]) == 2
    assert main([*study(root), "--again", trial.points[1]]) == 0
    assert begun == [(0.0, stem, False), (0.3, trial.runs[1].key, True)]


def test_a_stem_that_another_process_trains_is_left_to_it(root: Path) -> None:
    declare(root, SURVIVORS)
    run = load_study("trial", root / "studies").runs[0]
    (root / "runs").mkdir()
    with FileLock(root / "runs" / f"{run.stem.key}-stem.lock"):
        assert execution.execute(run, root / "runs") is None
    assert not (root / "runs" / run.key).exists()
    ended = execution.execute(run, root / "runs")
    assert isinstance(ended, execution.Finding)
    assert len(ended.trajectory) == 4
