"""Tests of pruning_core.cli: real runs, the files they leave, and errors of one line."""

import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning_core import __version__
from pruning_core.cli import _parser, main
from pruning_core.experiments.checkpoint import CHECKPOINT_FILE
from pruning_core.experiments.data import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from pruning_core.experiments.flags import from_flags
from pruning_core.experiments.runs import SUMMARY_FILE, TRAJECTORY_FILE
from pruning_core.studies.claims import load_claims
from pruning_core.studies.declaration import Run, load_study

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("pruning-core")
FEW = ["--epochs", "2", "--bernoulli-epochs", "1", "--device", "cpu"]

# What the summary must hold at least, and of which type.
SUMMARY = {
    "model": str,
    "method": str,
    "dataset": str,
    "settings": dict,
    "seed": int,
    "epochs": int,
    "architecture": list,
    "weights_kept": int,
    "weights_total": int,
    "macs": int,
    "macs_dense": int,
    "test_error_percent": float,
    "best_test_error_percent": float,
    "undecided": int,
    "stochastic_test_error_percent": float,
    "deterministic_test_error_percent": float,
    "seconds": float,
    "seconds_per_epoch": list,
    "device": str,
    "threads": int,
    "versions": dict,
}
FILES = {CHECKPOINT_FILE, SUMMARY_FILE, TRAJECTORY_FILE, "model.safetensors", "model.json"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The installed command, in a process of its own that is no terminal."""
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def call(*arguments: str | Path) -> int:
    """The same in this process: the exit code."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture(scope="module")
def finished(
    mnist_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A short run of LeNet-300-100, by the command itself."""
    out = tmp_path_factory.mktemp("cli") / "deep" / "run"
    done = run(
        "train", "lenet-300-100", "--gate-inputs", "--data", mnist_folder, "--out", out, *FEW
    )
    assert done.returncode == 0, done.stderr
    return out, done


@pytest.fixture
def copy(finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0], tmp_path / "copy"))


def test_a_run_is_quiet_but_for_a_readable_table(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = finished
    assert done.stderr == ""
    summary = json.loads((out / SUMMARY_FILE).read_text())
    rows = {line[:22].strip(): line[22:].split() for line in done.stdout.splitlines()}
    assert rows[""] == ["before", "after", "kept"]
    names = ["input pixels", "hidden 1", "hidden 2"]
    dense, kept = [784, 300, 100, 266_200], [*summary["architecture"], summary["weights_kept"]]
    for name, before, after in zip([*names, "weights"], dense, kept, strict=True):
        assert rows[name] == [f"{before:,}", f"{after:,}", f"{100 * after / before:.2f}", "%"]
    assert f"{summary['test_error_percent']:.2f} %" in done.stdout
    assert str(out) in done.stdout


def test_a_run_leaves_its_five_files_and_no_other(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert {path.name for path in finished[0].iterdir()} == FILES


def test_the_summary_has_every_entry(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    summary = json.loads((finished[0] / SUMMARY_FILE).read_text())
    for name, kind in SUMMARY.items():
        assert type(summary[name]) is kind, name
    assert summary["dataset"] == "mnist-6000"
    assert summary["settings"]["gate_inputs"] is True
    assert len(summary["architecture"]) == 3
    assert all(type(units) is int for units in summary["architecture"])
    assert len(summary["seconds_per_epoch"]) == summary["epochs"] == 2
    assert summary["macs_dense"] == 266_610
    assert (summary["device"], summary["threads"]) == ("cpu", 1)
    assert torch.__version__.startswith(summary["versions"]["torch"])
    assert len(json.loads((finished[0] / TRAJECTORY_FILE).read_text())) == 2


def test_evaluate_reproduces_the_recorded_error(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    mnist_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the exported model alone: the checkpoint and the trajectory are not needed."""
    for name in FILES - {CHECKPOINT_FILE, TRAJECTORY_FILE}:
        shutil.copy(finished[0] / name, tmp_path)
    recorded = json.loads((tmp_path / SUMMARY_FILE).read_text())["test_error_percent"]
    assert call("evaluate", tmp_path, "--data", mnist_folder, "--device", "cpu") == 0
    printed = capsys.readouterr()
    assert printed.out == f"test error {recorded:.2f} %, recorded {recorded:.2f} %\n"
    assert printed.err == ""


def test_evaluate_fails_if_the_error_is_not_the_recorded_one(
    copy: Path, mnist_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = json.loads((copy / SUMMARY_FILE).read_text())
    recorded = summary["test_error_percent"]
    summary["test_error_percent"] = recorded + 0.5
    (copy / SUMMARY_FILE).write_text(json.dumps(summary))
    assert call("evaluate", copy, "--data", mnist_folder, "--device", "cpu") == 1
    expected = f"test error {recorded:.2f} %, recorded {recorded + 0.5:.2f} %\n"
    assert capsys.readouterr().out == expected


def test_a_dense_lenet_5_trains_on_a_validation_split(
    mnist_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--method", "dense", "--split", "validation", "--batch-size", "300", "--epochs", "1"]
    assert (
        call(
            "train", "lenet-5", *flags, "--device", "cpu", "--data", mnist_folder, "--out", tmp_path
        )
        == 0
    )
    summary = json.loads((tmp_path / SUMMARY_FILE).read_text())
    assert summary["split"] == "validation"
    assert summary["settings"]["batch_size"] == 300
    assert summary["architecture"] == summary["architecture_dense"] == [20, 50, 800, 500]
    assert summary["macs"] == summary["macs_dense"] == 2_308_230
    assert "undecided" not in summary
    table = capsys.readouterr().out
    assert "validation error" in table
    assert "features" in table


def test_the_default_folder_names_model_method_and_seed(
    mnist_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--method", "dense", "--epochs", "1", "--seed", "7", "--batch-size", "500"]
    assert call("train", "lenet-300-100", *flags, "--device", "cpu", "--data", mnist_folder) == 0
    assert (tmp_path / "runs" / "lenet-300-100-dense-7" / SUMMARY_FILE).exists()


def assert_refused(
    code: int, printed: pytest.CaptureFixture[str] | tuple[str, str], message: str
) -> None:
    """Exit code 2, and one line that says what is wrong."""
    if isinstance(printed, tuple):
        stdout, stderr = printed
    else:
        captured = printed.readouterr()
        stdout, stderr = captured.out, captured.err
    assert code == 2
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert stderr.startswith("pruning-core")
    assert message in stderr


BAD = {
    "no model": (["train"], "MODEL"),
    "no command": ([], "COMMAND"),
    "unknown command": (["prune"], "prune"),
    "unknown flag": (
        ["train", "lenet-5", "--gama", "3"],
        "pruning-core train: unrecognized arguments: --gama 3; see pruning-core train --help",
    ),
    "no threads": (["train", "lenet-5", "--threads", "0"], "threads is 0; expected 1 to"),
    "threads without cores": (["train", "lenet-5", "--threads", "9999"], "one a core"),
    "a name that is too long": (["train", "lenet-5", "--out", "n" * 256], "File name too long"),
    "a path that is too long": (["train", "lenet-5", "--out", "d/" * 2500], "File name too long"),
    "unknown model": (["train", "lenet-7"], "unknown model 'lenet-7'; expected one of"),
    "unknown method": (["train", "lenet-5", "--method", "magic"], "unknown method 'magic'"),
    "unknown data set": (["train", "lenet-5", "--dataset", "cifar"], "unknown data set 'cifar'"),
    "unknown split": (["train", "lenet-5", "--split", "train"], "invalid choice: 'train'"),
    "unknown optimizer": (["train", "lenet-5", "--optimizer", "up"], "unknown optimizer 'up'"),
    "unknown estimator": (["train", "lenet-5", "--estimator", "arm"], "unknown estimator 'arm'"),
    "unknown device": (["train", "lenet-5", "--device", "tpu"], "invalid choice: 'tpu'"),
    "no data": (["train", "lenet-5", "--data", "nowhere"], "nowhere: not a folder"),
    "gamma of one": (["train", "lenet-5", "--log-gamma", "0"], "γ > 1"),
    "gamma below one": (["train", "lenet-5", "--log-gamma", "-3"], "γ > 1"),
    "gamma not a number": (["train", "lenet-5", "--log-gamma", "a,b"], "'a' is not a number"),
    "one gamma below one": (["train", "lenet-5", "--log-gamma", "3,0,3"], "γ > 1"),
    "too few gammas": (
        ["train", "lenet-5", "--log-gamma", "3,4"],
        "log_gamma has 2 values; one, or one for each of the gates gate1, gate2, ",
    ),
    "gamma beyond float32": (["train", "lenet-5", "--log-gamma", "1e39"], "log_gamma is (1e+39,)"),
    "xi beyond float32": (
        ["train", "lenet-5", "--method", "halo", "--xi", "1e308"],
        "xi is 1e+308; expected a finite number above 0, at most 1e+30",
    ),
    "lambda beyond float32": (
        ["train", "lenet-5", "--method", "sws", "--initial-coefficient", "1e308"],
        "initial_coefficient is 1e+308",
    ),
    "a fixed prior beyond floats": (
        ["train", "lenet-5", "--hyper-prior", "fixed", "--log-gamma", "710"],
        "at most 709 nats",
    ),
    "layers beyond reason": (["train", "lenet-300-100", "--hidden", "200000,200000"], "65536"),
    "batches beyond reason": (["train", "lenet-5", "--batch-size", "1" + 20 * "0"], "batch_size"),
    "one layer too few": (["train", "lenet-5", "--hidden", "3,4"], "expected 3 sizes for lenet-5"),
    "negative lambda": (["train", "lenet-5", "--weight-decay", "-0.1"], "weight_decay is -0.1"),
    "zero epochs": (["train", "lenet-5", "--epochs", "0"], "epochs is 0; expected a whole number"),
    "half an epoch": (["train", "lenet-5", "--epochs", "0.5"], "'0.5' is not a whole number"),
    "empty batches": (["train", "lenet-5", "--batch-size", "0"], "batch_size is 0"),
    "standing still": (["train", "lenet-5", "--learning-rate", "0"], "learning_rate is 0.0"),
    "a leap of theta": (["train", "lenet-5", "--theta-step", "2"], "theta_step is 2.0"),
    "a fraction of nothing": (["train", "lenet-5", "--theta-step", "1/0"], "'1/0' is not a number"),
    "a step beyond floats": (["train", "lenet-5", "--theta-step", "1e400"], "'1e400' is not a"),
    "a seed beyond 64 bits": (["train", "lenet-5", "--seed", "99999999999999999999"], "seed"),
    "too long a phase": (
        ["train", "lenet-5", "--epochs", "2", "--bernoulli-epochs", "3"],
        "bernoulli_epochs is 3; expected 1 to epochs",
    ),
    "pixels of a convolution": (["train", "lenet-5", "--gate-inputs"], "gate_inputs needs a fully"),
    "features of none": (["train", "lenet-300-100", "--gate-features"], "gate_features is for"),
}


@pytest.mark.parametrize("what", list(BAD))
def test_a_wrong_call_is_an_error_of_one_line_and_writes_nothing(
    what: str,
    mnist_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[what]
    if len(arguments) > 1 and "--data" not in arguments and "--dataset" not in arguments:
        arguments = [*arguments, "--data", str(mnist_folder)]
    code = call(*arguments)
    assert_refused(code, capsys, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_so_it_is_in_a_process_of_its_own_where_the_module_is_the_program(tmp_path: Path) -> None:
    arguments, message = BAD["gamma below one"]
    command = [sys.executable, "-m", "pruning_core", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert_refused(done.returncode, (done.stdout, done.stderr), message)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_an_error_of_one_line(
    mnist_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "run"
    code = call("train", "lenet-300-100", *FEW, "--data", mnist_folder, "--out", out)
    assert_refused(code, capsys, f"cannot write to {out}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "already holds a run; continue it with --resume, or choose another --out"),
        (["--resume"], "the checkpoint is of another run: gate_inputs True there, False here"),
        (["--resume", "--gate-inputs", "--seed", "5"], "another run: seed 0 there, 5 here"),
        (["--resume", "--gate-inputs", "--log-gamma", "5"], "is of another run: log_gamma ["),
    ],
)
def test_the_folder_of_another_run_is_refused_and_left_alone(
    more: list[str],
    message: str,
    copy: Path,
    mnist_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    arguments = ["train", "lenet-300-100", *FEW, *more]
    code = call(*arguments, "--data", mnist_folder, "--out", copy)
    assert_refused(code, capsys, message)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_a_damaged_checkpoint_is_an_error_of_one_line(
    copy: Path, mnist_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / CHECKPOINT_FILE).write_bytes(b"not a checkpoint")
    arguments = ["train", "lenet-300-100", "--gate-inputs", *FEW, "--resume"]
    code = call(*arguments, "--data", mnist_folder, "--out", copy)
    assert_refused(code, capsys, "is not a readable checkpoint")


def test_a_diverging_run_is_an_error_of_one_line(
    mnist_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "lenet-300-100", *FEW, "--learning-rate", "1e30"]
    code = call(*arguments, "--data", mnist_folder, "--out", tmp_path)
    assert_refused(code, capsys, "in epoch 1; lower --learning-rate (now 1e+30)")


def summary(**changes: object) -> bytes:
    good = {"test_error_percent": 5.0, "split": "test", "dataset": "mnist-6000"}
    return json.dumps(good | changes).encode()


DAMAGE: dict[str, tuple[str, bytes | None, str]] = {
    "no summary": (SUMMARY_FILE, None, "summary.json: No such file"),
    "an empty summary": (SUMMARY_FILE, b"", "summary.json is damaged"),
    "a summary without entries": (SUMMARY_FILE, b"{}", "summary.json is damaged"),
    "a summary that is a list": (SUMMARY_FILE, b"[]", "summary.json is damaged"),
    "a summary that is no text": (SUMMARY_FILE, b"\xff\xfe", "summary.json is damaged"),
    "no weights": ("model.safetensors", None, "model.safetensors: No such file"),
    "damaged weights": ("model.safetensors", b"garbage", "damaged model files"),
    "a damaged description": ("model.json", b"{", "damaged model files"),
    **{
        f"a summary whose {key} is {value[:9]}": (
            SUMMARY_FILE,
            summary(**{key: json.loads(value)}),
            f"summary.json is damaged ({key} is ",
        )
        for key, values in {
            "test_error_percent": ("null", "[1]", '"1.5"', "true", "NaN", "1e999", "-1"),
            "split": ("null", '"train"', '["test"]'),
            "dataset": ("null", '["mnist"]', "3"),
        }.items()
        for value in values
    },
    "a deep summary": (SUMMARY_FILE, b"[" * 100_000, "summary.json is damaged"),
    "a large summary": (SUMMARY_FILE, bytes(10_000_001), "10000001 bytes, but 10000000 at most"),
}


@pytest.mark.parametrize("what", list(DAMAGE))
def test_evaluate_names_what_is_damaged_in_one_line(
    what: str, copy: Path, mnist_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, message = DAMAGE[what]
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    code = call("evaluate", copy, "--data", mnist_folder, "--device", "cpu")
    assert_refused(code, capsys, message)


def test_evaluate_does_not_wait_for_a_pipe(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / SUMMARY_FILE).unlink()
    os.mkfifo(copy / SUMMARY_FILE)
    assert_refused(call("evaluate", copy), capsys, "summary.json: Not a regular file")


@pytest.mark.parametrize(
    ("side", "classes", "message"),
    [
        (32, 10, "reads images of shape (1, 28, 28), but {} has (1, 32, 32); name the folder"),
        (14, 10, "reads images of shape (1, 28, 28), but {} has (1, 14, 14); name the folder"),
        (28, 12, "tells 10 classes apart, but {} has 12; name the folder"),
    ],
)
def test_evaluate_refuses_what_the_network_was_not_made_for(
    side: int,
    classes: int,
    message: str,
    copy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    write_idx(data, side, classes)
    code = call("evaluate", copy, "--data", data, "--device", "cpu")
    assert_refused(code, capsys, message.format(data))


def write_idx(folder: Path, side: int = 28, classes: int = 10) -> None:
    """A data set of 120 training and 60 test images of noise."""
    folder.mkdir()
    draw = random.Random(0)
    for images, labels, count in (
        (TRAIN_IMAGES, TRAIN_LABELS, 120),
        (TEST_IMAGES, TEST_LABELS, 60),
    ):
        pixels, digits = draw.randbytes(count * side**2), (n % classes for n in range(count))
        (folder / images).write_bytes(struct.pack(">4I", 2051, count, side, side) + pixels)
        (folder / labels).write_bytes(struct.pack(">2I", 2049, count) + bytes(digits))


def test_evaluate_needs_a_folder_that_exists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = call("evaluate", tmp_path / "nowhere")
    assert_refused(code, capsys, "a folder written by 'pruning-core train'")


def test_an_interrupted_run_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pruning_core.experiments.runs.train", interrupt)
    monkeypatch.setattr("pruning_core.experiments.data.load", lambda *_, **__: None)
    assert call("train", "lenet-5", "--device", "cpu") == 130
    assert "--resume continues it" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate", "."], ["ledger", "--root", str(ROOT)]])
def test_what_cannot_be_resumed_does_not_say_so(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pruning_core.cli._recorded", interrupt)
    monkeypatch.setattr("pruning_core.studies.ledger.decided", interrupt)
    assert call(*command) == 130
    assert capsys.readouterr().err == "pruning-core: interrupted\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "a/b"), "a/b: No space left on device; --resume"),
        (OSError(28, "No space left on device"), "the standard output: No space left on device"),
        (OSError("no peer"), "no peer"),
        (MemoryError(), "there is not enough memory for that; --resume continues it"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "not enough memory"),
        (ValueError("one\ntwo"), "one two"),
    ],
)
def test_what_goes_wrong_in_the_middle_is_an_error_of_one_line(
    error: Exception,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("pruning_core.experiments.data.load", fail)
    assert_refused(call("train", "lenet-5", "--device", "cpu"), capsys, message)


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("pruning_core.experiments.data.load", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        call("train", "lenet-5", "--device", "cpu")


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line_without_the_place_in_our_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(*_: Any, **__: Any) -> None:
        warnings.warn("a layer\nis about to leave", stacklevel=1)
        raise ValueError("the end")

    monkeypatch.setattr("pruning_core.experiments.data.load", warn)
    call("train", "lenet-5", "--device", "cpu")
    warned, _ = capsys.readouterr().err.splitlines()
    assert warned == "pruning-core: warning: a layer is about to leave"


def in_shell(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program, as $PROGRAM, in a shell, with these variables too."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=os.environ | {"PROGRAM": str(PROGRAM)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


TRAIN = '"$PROGRAM" train lenet-300-100 --method dense --batch-size 20 --device cpu --data data'


@pytest.mark.slow  # in this process: test_runs
def test_a_full_disk_is_told_with_the_file_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / "data")
    train = f"{TRAIN} --epochs 2 --out run"
    done = in_shell(f"ulimit -f 1000; {train}", tmp_path)
    message = "run/checkpoint.pt: File too large; --resume continues it"
    assert_refused(done.returncode, (done.stdout, done.stderr), message)
    assert list((tmp_path / "run").iterdir()) == []
    monkeypatch.chdir(tmp_path)
    assert call(*train.split()[1:], "--resume") == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_neither_a_closed_stream_nor_letters_without_a_code_end_a_run(tmp_path: Path) -> None:
    write_idx(tmp_path / "data")
    done = in_shell(f"{TRAIN} --epochs 1 --out γ-ünï 2>&-", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "written to ?-?n?"
    assert {path.name for path in (tmp_path / "γ-ünï").iterdir()} == FILES


@pytest.mark.slow
def test_help_can_be_printed_without_greek_letters(tmp_path: Path) -> None:
    done = in_shell('"$PROGRAM" train --help', tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--log-gamma" in done.stdout


def test_an_output_without_room_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        code = call("--help")
        monkeypatch.undo()
    assert_refused(code, capsys, "the standard output: No space left on device")


@pytest.mark.slow
def test_what_is_without_room_at_the_end_of_the_program_is_told_too(tmp_path: Path) -> None:
    done = in_shell('"$PROGRAM" --help > /dev/full', tmp_path, PYTHONUNBUFFERED="")
    message = "the standard output: No space left on device"
    assert_refused(done.returncode, ("", done.stderr), message)
    assert in_shell('"$PROGRAM" train lenet-7 2> /dev/full', tmp_path).returncode == 2


def test_cuda_is_refused_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code = call("train", "lenet-5", "--device", "cuda")
    assert_refused(code, capsys, "torch finds no GPU; use --device cpu")


def test_help_names_the_operating_points_and_what_was_asked_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("train", "--help") == 0
    text = capsys.readouterr().out.partition("operating points")[2]
    told = re.findall(r"  (train .+?)  +(\d\S* % .*)", re.sub(r"\n {8}", " ", text))
    said = {key_of(command): limits for command, limits in told}
    claims = load_claims(ROOT / "studies" / "claims.toml")
    asked = [claim for claim in claims if claim.source == "target"]
    # What was asked of networks beside one another is no operating point.
    asked = [claim for claim in asked if claim.conditions[0].statistic == "mean"]
    assert len({(c.conditions[0].study, c.conditions[0].points) for c in asked}) == len(said)
    for claim in asked:
        condition = claim.conditions[0]
        runs = load_study(condition.study, ROOT / "studies").runs
        key = next(run.key for run in runs if run.point == condition.points[0])
        assert f"{condition.at_most:g} %" in said[key], claim.name


def key_of(command: str) -> str:
    """Of the run that a command starts."""
    return Run("", from_flags(_parser().parse_args(command.split()))).key


@pytest.mark.parametrize("flag", ["1/650", f"{1 / 650!r}"])
def test_the_step_on_theta_may_be_a_fraction(flag: str) -> None:
    options = _parser().parse_args(["train", "lenet-5", "--theta-step", flag])
    assert from_flags(options).theta_step == 1 / 650


def test_a_reader_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert call("--help") == 141
        monkeypatch.undo()


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{PROGRAM} ledger --root {ROOT} | head --lines 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_help_names_every_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("train", "--help") == 0
    text = capsys.readouterr().out
    flags = "method dataset data log-gamma gate-inputs seed epochs device out resume"
    for flag in flags.split():
        assert f"--{flag}" in text
    assert call("--help") == 0
    assert "evaluate" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.strip() == __version__
