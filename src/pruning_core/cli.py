"""The command line: ``pruning-core train``, ``evaluate``, ``study`` and ``ledger``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from pruning_core import __version__
from pruning_core.checkpoints import ModelFileError
from pruning_core.experiments.callbacks import ProgressBar
from pruning_core.experiments.data import DATASETS, DataError, load
from pruning_core.experiments.flags import add_flags, from_flags
from pruning_core.experiments.run import TrainingError
from pruning_core.experiments.runs import SUMMARY_FILE, train
from pruning_core.export import load_model
from pruning_core.metrics import error_percent
from pruning_core.models import MODELS
from pruning_core.studies.commands import add_ledger, add_study

_OPERATING_POINTS = """\
operating points, and what was asked of each: test error, and weights kept or, for halo, zeros
(means of ten seeds; 'pruning-core ledger' tells what was found):
  train lenet-300-100 --gate-inputs                            1.5 % at 10 %
  train lenet-300-100 --gate-inputs --log-gamma 56             1.8 % at 5 %
  train lenet-5                                                0.75 % at 7 %
  train lenet-5 --log-gamma 380,380,120 --epochs 40 --bernoulli-epochs 30
        --ramp-epochs 6 --theta-step 1/650 --weight-decay 0    0.95 % at 1.5 %
  train lenet-300-100 --method halo --xi 1.2e-5 --psi 3.5e-5   1.6 % at 95 %
  train lenet-300-100 --method halo                            1.75 % at 98.5 %
  train lenet-300-100 --method halo --xi 3e-5 --psi 1e-4       2.1 % at 99.3 %
  train lenet-5 --method halo --xi 1e-5 --psi 7e-5 --epochs 40  0.8 % at 98 %
  train lenet-5 --method halo                                  0.9 % at 99 %
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (DataError, ModelFileError, TrainingError, ValueError) as error:
        print(f"pruning-core: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader, head say, has seen enough; nothing is left to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(
            "pruning-core: interrupted; --resume continues it, and a study goes on by itself",
            file=sys.stderr,
        )
        return 130


class _Parser(argparse.ArgumentParser):
    """Wrong flags are an error of one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pruning-core", description="Train neural networks that prune themselves."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "train",
        help="train and prune a model",
        description="Train and prune a model; the defaults are the recommended operating point. A "
        "number may be a fraction, as 1/650. In brackets: the only methods that read a setting.",
        epilog=_OPERATING_POINTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_train)
    add_flags(command)
    command.add_argument("--dataset", help=f"{', '.join(DATASETS)} (default: mnist)")
    command.add_argument("--data", type=Path, metavar="DIR", help="folder of four idx files")
    command.add_argument(
        "--split",
        default="test",
        choices=("test", "validation"),
        help="validation: train on all but the last sixth and report the error there, to choose "
        "settings without the test set",
    )
    command.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    command.add_argument("--out", type=Path, metavar="DIR", help="default: runs/MODEL-METHOD-SEED")
    command.add_argument("--resume", action="store_true", help="continue the run in --out")

    command = commands.add_parser(
        "evaluate",
        help="measure a saved model again",
        description="Reproduce the recorded test error from the saved model alone.",
    )
    command.set_defaults(run=_evaluate)
    command.add_argument("directory", metavar="DIR", type=Path)
    command.add_argument("--data", type=Path, metavar="DIR", help="folder of four idx files")
    command.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))

    add_study(commands)
    add_ledger(commands)
    return parser


def _train(options: argparse.Namespace) -> int:
    settings = from_flags(options)
    out = options.out or Path("runs") / f"{settings.model}-{settings.method}-{settings.seed}"
    device = _device(options.device)
    dataset = load(options.dataset, options.data, split=options.split, device=device)
    summary = train(settings, dataset, out, resume=options.resume, callbacks=[ProgressBar()])
    print(_table(summary))
    print(f"written to {out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    path = options.directory / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        recorded, split, name = (summary[k] for k in ("test_error_percent", "split", "dataset"))
    except OSError as error:
        raise ModelFileError(
            f"{path}: {error.strerror}; a folder written by 'pruning-core train' was expected"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path} is damaged ({error}); train again") from error
    device = _device(options.device)
    data = load(name, options.data, split=split, device=device)
    model = load_model(options.directory).to(device)
    error = error_percent(model, data.eval_images, data.eval_labels)
    print(f"{split} error {error:.2f} %, recorded {recorded:.2f} %")
    return 0 if abs(error - recorded) < 0.005 else 1


def _table(summary: dict[str, Any]) -> str:
    before, after = summary["architecture_dense"], summary["architecture"]
    rows = list(zip(MODELS[summary["model"]].units, before, after, strict=True))
    rows.append(("weights", summary["weights_total"], summary["weights_kept"]))
    rows.append(("multiply-accumulates", summary["macs_dense"], summary["macs"]))
    lines = [f"{'':22}{'before':>12}{'after':>12}{'kept':>10}"]
    lines += [f"{n:22}{b:>12,}{a:>12,}{100 * a / b:>8.2f} %" for n, b, a in rows]
    lines.append(
        f"{summary['split']} error {summary['test_error_percent']:.2f} % after "
        f"{summary['epochs']} epochs, {summary['seconds']:.0f} s"
    )
    if "sparsity_curve" in summary:
        curve = summary["sparsity_curve"].items()
        lines.append("error by zeros: " + ", ".join(f"{e:.2f} % at {z} %" for z, e in curve))
    if "undecided" in summary:
        lines.append(
            f"when the Bernoulli phase ended: {summary['undecided']} units undecided, error "
            f"{summary['stochastic_test_error_percent']:.2f} % with sampled gates, "
            f"{summary['deterministic_test_error_percent']:.2f} % deterministic"
        )
    return "\n".join(lines)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no GPU; use --device cpu")
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
