import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli import _parser, main
from pruning_core.experiments.flags import from_flags
from pruning_core.experiments.settings import Settings, recommended
from pruning_core.studies.declaration import Run, StudyError, load_study, names
from pruning_core.studies.execution import run_study, unfinished
from pruning_core.studies.records import table, trajectories

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("pruning-core")

DECLARATION = """
title = "A trial"
seeds = 2
dataset = "{data}"

[settings]
model = "lenet-300-100"
epochs = 4

[points.bernoulli]
method = "bernoulli"
log_gamma = 20
theta_step = "1/650"

[points.halo]
method = "halo"
"""

SHORT = "epochs = 1\nbatch_size = 500"  # in place of "epochs = 4"

Declare = Callable[..., Path]


@pytest.fixture(scope="module")
def declare(tmp_path_factory: pytest.TempPathFactory, mnist_folder: Path) -> Declare:
    """Write a study named "trial" into a root of its own."""

    def write(text: str = DECLARATION) -> Path:
        root = tmp_path_factory.mktemp("project")
        (root / "studies").mkdir()
        (root / "studies" / "trial.toml").write_text(text.replace("{data}", str(mnist_folder)))
        return root

    return write


@pytest.fixture(scope="module")
def serial(declare: Declare) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the trial finds, one run after another and undisturbed."""
    root = declare()
    run_study(load_study("trial", root / "studies"), root, jobs=1)
    return recorded(root)


def recorded(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of the trial, without what no two runs share."""
    study = load_study("trial", root / "studies")
    rows, epochs = table(study, root / "results"), trajectories(study, root / "results")
    return rows.drop(columns="seconds"), epochs.drop(columns="seconds").reset_index(drop=True)


def assert_recorded(root: Path, expected: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    for found, wanted in zip(recorded(root), expected, strict=True):
        pd.testing.assert_frame_equal(found, wanted)
    assert not [p for p in root.rglob("*") if p.name.endswith(".partial")]


def test_every_declared_study_loads_and_its_runs_are_distinct() -> None:
    assert names(ROOT / "studies")
    for name in names(ROOT / "studies"):
        runs = load_study(name, ROOT / "studies").runs
        assert len({run.key for run in runs}) == len(runs) > 0, name


def test_a_grid_combines_with_points_and_seeds(declare: Declare) -> None:
    root = declare(DECLARATION + "\n[grid]\nbatch_size = [50, 100]\nlearning_rate = [0.01, 0.02]\n")
    study = load_study("trial", root / "studies")
    assert len(study.runs) == 2 * 2 * 2 * 2
    assert study.points[1] == "bernoulli batch_size=50 learning_rate=0.02"
    settings = study.runs[3].settings
    assert (settings.batch_size, settings.learning_rate, settings.seed) == (50, 0.02, 1)
    assert settings.log_gamma == (20.0,)
    assert settings.theta_step == 1 / 650


def test_a_point_may_have_seeds_of_its_own(declare: Declare) -> None:
    study = load_study("trial", declare(DECLARATION + "seeds = 3\n") / "studies")
    assert Counter(run.point for run in study.runs) == {"bernoulli": 2, "halo": 3}


def test_seeds_may_begin_later(declare: Declare) -> None:
    text = DECLARATION.replace("seeds = 2", "seeds = 2\nfirst_seed = 10") + "first_seed = 5\n"
    study = load_study("trial", declare(text) / "studies")
    seeds = [(run.point, run.settings.seed) for run in study.runs]
    assert seeds == [("bernoulli", 10), ("bernoulli", 11), ("halo", 5), ("halo", 6)]


def test_a_key_tells_runs_apart_by_what_their_method_reads() -> None:
    run = Run("a", recommended("lenet-300-100", "halo"))
    assert re.fullmatch("[0-9a-f]{12}", run.key)
    assert replace(run, point="b").key == run.key
    for other in (
        replace(run, dataset="kmnist"),
        replace(run, split="validation"),
        replace(run, settings=replace(run.settings, xi=1e-7)),
        replace(run, settings=replace(run.settings, seed=1)),
        replace(run, settings=replace(run.settings, epochs=1)),
    ):
        assert other.key != run.key
    # HALO has no gates.
    assert replace(run, settings=replace(run.settings, log_gamma=(1.0,))).key == run.key


@pytest.mark.slow
def test_the_command_of_a_run_trains_the_same_run() -> None:
    studies = [load_study(name, ROOT / "studies") for name in names(ROOT / "studies")]
    runs = [run for study in studies for run in study.runs]
    runs.append(Run("", recommended("lenet-5", epochs=7, log_gamma=(1.0, 2.0, 3.5)), "kmnist"))
    parser = _parser()
    for run in runs:
        options = parser.parse_args(shlex.split(run.command)[1:])
        again = Run("", from_flags(options), options.dataset or "mnist", options.split)
        assert again.key == run.key, run.command


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.parquet")), ids=lambda p: p.stem)
def test_the_record_belongs_to_the_declaration(path: Path) -> None:
    study = load_study(path.stem, ROOT / "studies")
    rows = table(study, ROOT / "results")
    assert len(rows) == len(pd.read_csv(path.with_suffix(".csv"))), "rows of undeclared runs"
    for row in rows.to_dict("records"):
        settings = Settings.from_json(json.loads(row["settings"]))
        run = Run(row["point"], settings, row["dataset"], row["split"])
        # A default of Settings that changed would give old rows the names of new runs.
        assert run.key == row["run"], row["command"]
    epochs = trajectories(study, ROOT / "results").groupby("run").size()
    assert epochs.to_dict() == dict(zip(rows["run"], rows["epochs"], strict=True))


def test_the_record_is_small_enough_to_keep() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "results").iterdir()) < 15_000_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds = 2", "seeds = 0"), "seeds is 0; a number of runs, at least 1"),
        (("seeds = 2", ""), "lacks 'seeds'"),
        (("seeds = 2", "seeds = 2\nfirst_seed = -1"), "first_seed is -1; a whole number from 0"),
        (("epochs = 4", "epochs = 4\nworst_case = 0.3"), "worst_case is 0.3; expected 0 without"),
        (("seeds = 2", "seed = 2"), r"unknown keys \['seed'\]; dataset"),
        (('method = "halo"', ""), "'halo' has no model or no method"),
        (('method = "halo"', 'method = "hallo"'), "unknown method 'hallo'"),
        (("epochs = 4", "epochs = 0"), "epochs is 0"),
        (("epochs = 4", "epoch = 4"), r"unknown settings \['epoch'\]"),
        (("epochs = 4", "seed = 4"), "say how many with seeds"),
        (('"1/650"', '"a few"'), "a few"),
        (("seeds = 2", 'seeds = 2\nsplit = "train"'), "split is 'train'; validation or test"),
        (('title = "A trial"', "title = "), "cannot be read"),
        (("epochs = 4", "epochs = 3.5"), r"epochs is 3.5; expected a whole number"),
        (("epochs = 4", "epochs = true"), r"epochs is True; expected a whole number"),
        (("epochs = 4", "hidden = [30.0, 10.0]"), r"hidden is \[30.0, 10.0\]; expected"),
        (
            ('"1/650"', '"1/0"'),
            "theta_step is '1/0'; expected a number in .0, 1., or a",
        ),
        (
            ('method = "halo"', 'method = "halo"\nproximal = "no"'),
            "proximal is 'no'; expected",
        ),
        (('method = "halo"', "method = 3"), "unknown method 3; expected one of bernoulli"),
        (("seeds = 2", "seeds = true"), "seeds is True; a number of runs"),
        (('title = "A trial"', "title = 3"), "title is 3; text was expected"),
        (("[points.halo]", "[grid]\nepochs = 3\n[points.halo]"), "epochs of grid is 3; a list"),
        (
            ("[points.halo]", "[grid]\nepochs = []\n[points.halo]"),
            r"epochs of grid is \[\]; a list",
        ),
        (("[points.halo]", "[points.halo]\ngrid = 3"), "points.halo.grid is 3; a table"),
        (("[points.halo]", "[points.more]\nseeds = true\n[points.halo]"), "seeds is True"),
        (("[points.bernoulli]", "[points]\nhalo = 3\n[points.bernoulli]"), "trial.toml"),
        (("[points.halo]", '[points.more]\nmethod = "halo"\n[points.halo]'), "same settings; drop"),
        (("[points.halo]", '[points.halo]\nlabel = "{xi}"'), "lacks 'xi'"),
        (("[points.halo]", '[points.halo]\nlabel = "{}"'), "trial.toml: "),
        (('"{data}"', "3"), "dataset is 3; mnist"),
        (('"{data}"', '"mnits"'), r"dataset is 'mnits'; mnist, .* or a folder with a slash"),
    ],
)
def test_a_wrong_declaration_is_named(
    declare: Declare, change: tuple[str, str], words: str
) -> None:
    root = declare(DECLARATION.replace(*change))
    with pytest.raises(StudyError, match=words) as error:
        load_study("trial", root / "studies")
    assert "trial.toml" in str(error.value)


def test_an_unknown_study_lists_those_there_are(
    declare: Declare, capsys: pytest.CaptureFixture[str]
) -> None:
    root = declare()
    assert main(["study", "run", "trail", "--root", str(root)]) == 2
    assert "no study 'trail'" in (error := capsys.readouterr().err)
    assert "there is trial" in error
    assert main(["study", "list", "--root", str(root / "studies")]) == 2
    assert "--root" in capsys.readouterr().err


def test_finished_runs_are_never_repeated(
    declare: Declare, capsys: pytest.CaptureFixture[str]
) -> None:
    root = declare(DECLARATION.replace("seeds = 2", "seeds = 1").replace("epochs = 4", SHORT))
    assert main(["study", "run", "trial", "--jobs", "1", "--root", str(root)]) == 0
    assert capsys.readouterr().out.count("±") == 0  # one seed has no interval
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert main(["study", "run", "trial", "--jobs", "1", "--root", str(root)]) == 0
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert after == before
    capsys.readouterr()

    # The record alone says what is finished: runs/ is not part of the repository.
    for path in (root / "runs").rglob("*.json"):
        path.unlink()
    (root / "studies" / "trial.toml").write_text(
        (root / "studies" / "trial.toml")
        .read_text()
        .replace('method = "halo"', 'xi = 1e-4\nmethod = "halo"')
    )
    study = load_study("trial", root / "studies")
    assert [run.point for run in unfinished(study, root)] == ["halo"]
    assert main(["study", "status", "trial", "--root", str(root)]) == 0
    assert re.search(r"bernoulli +1 of +1 runs\nhalo +0 of +1 runs", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        ('method = "halo"', 'method = "halo"\nxi = 1e-4'),
        ('[points.halo]\nmethod = "halo"', '[points.lasso]\nmethod = "l1"'),
        (
            'seeds = 1\ndataset = "{data}"',
            'seeds = 1\ndataset = "{data}"\nsplit = "validation"',
        ),
    ],
    ids=["changed", "replaced", "all changed"],
)
def test_a_changed_declaration_runs_and_what_was_recorded_stays(
    declare: Declare, change: tuple[str, str]
) -> None:
    text = DECLARATION.replace("seeds = 2", "seeds = 1").replace("epochs = 4", SHORT)
    root = declare(text)
    first = load_study("trial", root / "studies")
    run_study(first, root, jobs=1)
    before = recorded(root)

    (root / "studies" / "trial.toml").write_text(
        (declare(text.replace(*change)) / "studies" / "trial.toml").read_text()
    )
    changed = load_study("trial", root / "studies")
    run_study(changed, root, jobs=1)
    rows, epochs = recorded(root)
    assert rows["run"].to_list() == [run.key for run in changed.runs]
    assert set(epochs["run"]) == set(rows["run"])

    (root / "studies" / "trial.toml").write_text((declare(text) / "studies/trial.toml").read_text())
    assert not unfinished(first, root)
    assert_recorded(root, before)


def test_what_another_study_has_recorded_is_not_trained_again(declare: Declare) -> None:
    root = declare(DECLARATION.replace("seeds = 2", "seeds = 1").replace("epochs = 4", SHORT))
    folder = root / "studies"
    run_study(load_study("trial", folder), root, jobs=1)
    text = (folder / "trial.toml").read_text()
    (folder / "again.toml").write_text(text.replace("points.halo", "points.other"))
    for path in (root / "runs").glob("*/*"):
        path.unlink()
    again = load_study("again", folder)
    run_study(again, root, jobs=1)
    assert not list((root / "runs").glob("*/*"))
    rows, before = (table(load_study(n, folder), root / "results") for n in ("again", "trial"))
    assert rows["point"].to_list() == ["bernoulli", "other"]
    pd.testing.assert_frame_equal(rows.drop(columns="point"), before.drop(columns="point"))
    epochs = trajectories(again, root / "results")
    pd.testing.assert_frame_equal(
        epochs, trajectories(load_study("trial", folder), root / "results")
    )


@pytest.mark.slow
def test_a_point_may_be_trained_again(declare: Declare, capsys: pytest.CaptureFixture[str]) -> None:
    root = declare(DECLARATION.replace("seeds = 2", "seeds = 1").replace("epochs = 4", SHORT))
    command = ["study", "run", "trial", "--jobs", "1", "--root", str(root)]
    assert main(command) == 0
    before = recorded(root)
    summaries = {path: path.stat().st_mtime_ns for path in root.glob("runs/*/summary.json")}
    assert main([*command, "--again", "halo"]) == 0
    assert "halo: 1 recorded before, trained again" in capsys.readouterr().out
    halo = before[0].set_index("point").loc["halo", "run"]
    anew = [path for path, when in summaries.items() if path.stat().st_mtime_ns != when]
    assert [path.parent.name for path in anew] == [halo]
    assert_recorded(root, before)
    assert main([*command, "--again", "hallo"]) == 2
    assert "no point 'hallo'; it has bernoulli, halo" in capsys.readouterr().err
    assert_recorded(root, before)
    shutil.rmtree(root / "runs")
    (root / "runs").write_text("in the way")
    assert main([*command, "--again", "halo"]) == 2
    assert str(root / "runs") in capsys.readouterr().err
    assert_recorded(root, before)


@pytest.mark.slow
def test_cores_share_the_runs(declare: Declare, serial: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    root = declare()
    run_study(load_study("trial", root / "studies"), root, jobs=2)
    assert_recorded(root, serial)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(
    declare: Declare, serial: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    root = declare()
    command = [PROGRAM, "study", "run", "trial", "--jobs", "2", "--root", root]
    for moment in (
        lambda: list(root.glob("runs/*.lock")),
        lambda: list(root.glob("runs/*/checkpoint.pt")),
        lambda: list(root.glob("results/trial.csv")),
    ):
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        while not moment():
            # Each comes long before the end of the four runs, however fast they are.
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert unfinished(load_study("trial", root / "studies"), root)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert_recorded(root, serial)


@pytest.mark.slow
def test_two_processes_share_a_study(
    declare: Declare, serial: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    root = declare()
    command = [PROGRAM, "study", "run", "trial", "--jobs", "1", "--root", root]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert_recorded(root, serial)


def worker(root: Path) -> subprocess.Popen[bytes]:
    """For the scheduler that :func:`dask` has started there."""
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", root]
    file = ["--scheduler-file", root / "scheduler.json"]
    return subprocess.Popen([PROGRAM.with_name("dask"), "worker", *file, *options])


@contextmanager
def dask(root: Path, workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and its workers on loopback, each a process of its own."""
    script = PROGRAM.with_name("dask")
    processes = []
    try:
        where = root / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        processes.append(
            subprocess.Popen([script, "scheduler", *options, "--scheduler-file", where], cwd=root)
        )
        while not where.exists():
            assert processes[0].poll() is None
            time.sleep(0.1)
        processes += [worker(root) for _ in range(workers)]
        address = re.search(r'"address": "([^"]+)"', where.read_text())
        assert address
        yield address[1], processes
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_cluster_finishes_though_a_worker_dies(
    declare: Declare, serial: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    root = declare()
    with dask(root, workers=2) as (address, (_, first, _)):
        study = subprocess.Popen(
            [PROGRAM, "study", "run", "trial", "--scheduler", address, "--root", root],
            stdout=subprocess.DEVNULL,
        )
        while not list(root.glob("runs/*/checkpoint.pt")):
            assert study.poll() is None
            time.sleep(0.05)
        first.kill()
        assert study.wait() == 0
    assert_recorded(root, serial)


@pytest.mark.slow
def test_a_cluster_without_workers_is_waited_for_and_one_without_scheduler_given_up(
    declare: Declare,
) -> None:
    root = declare(DECLARATION.replace("epochs = 4", "epochs = 1000"))
    with dask(root, workers=0) as (address, processes):
        study = subprocess.Popen(
            [PROGRAM, "study", "run", "trial", "--scheduler", address, "--root", root],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert study.stderr
        assert study.stderr.readline() == f"no worker is connected to {address}: waiting\n"
        processes.append(worker(root))
        while not list(root.glob("runs/*/checkpoint.pt")):
            assert study.poll() is None
            time.sleep(0.05)
        processes[0].kill()
        _, error = study.communicate()
    assert study.returncode == 2
    assert f"pruning-core: the Dask scheduler at {address} is gone" in error
    assert "Traceback" not in error, error


def test_a_scheduler_that_does_not_answer_is_named(
    declare: Declare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pruning_core.studies.execution.ANSWER", 0.2)
    root = declare()
    arguments = ["study", "run", "trial", "--root", str(root)]
    assert main([*arguments, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_at_once(
    declare: Declare, capsys: pytest.CaptureFixture[str]
) -> None:
    root = declare()
    (root / "results").write_text("in the way")
    assert main(["study", "run", "trial", "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert str(root / "results") in error
    assert "--root" in error
    assert not list(root.glob("runs/*"))


def test_a_full_disk_is_told_at_once(
    declare: Declare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = declare()
    monkeypatch.setattr("pruning_core.studies.execution.BYTES_PER_RUN", 10**15)
    assert main(["study", "run", "trial", "--root", str(root)]) == 2
    assert "4 runs may need 4000000.0 GB" in capsys.readouterr().err
