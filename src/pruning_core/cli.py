"""The command line: ``pruning-core train``, ``evaluate``, ``study`` and ``ledger``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pruning_core import __version__
from pruning_core.console import make_printable, say, show_warning, silence, told
from pruning_core.files import read_regular
from pruning_core.studies.commands import add_ledger, add_study

# What a command needs is imported where it is used.
if TYPE_CHECKING:
    import torch


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
    make_printable()
    goes_on = ""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            options = _parsed(arguments)
            goes_on = getattr(options, "goes_on", "")
            code = options.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader, head say, has seen enough; nothing is left to be flushed at exit.
        silence(sys.stdout)
        return 141
    except KeyboardInterrupt:
        say("; ".join(filter(None, ["interrupted", goes_on])))
        return 130
    except Exception as error:
        message = told(error, goes_on)
        if message is None:
            raise
        say(message, getattr(error, "__notes__", ()))
        return 2


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    try:
        return _parser().parse_args(arguments)
    except SystemExit:
        sys.stdout.flush()  # the help, which may not have found room
        raise


class _Parser(argparse.ArgumentParser):
    """Wrong flags are an error of one line, that names the page which lists the right ones.

    Attributes:
        fill: adds the arguments, once they are needed.
    """

    fill: Callable[[argparse.ArgumentParser], None] | None = None

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As in the base class, but nothing unknown is left to the program's own parser."""
        if self.fill is not None:
            self.fill(self)
            self.fill = None
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

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
    command.set_defaults(run=_train, goes_on="--resume continues it")
    command.fill = _add_train

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


def _add_train(command: argparse.ArgumentParser) -> None:
    from pruning_core.experiments.data import DATASETS
    from pruning_core.experiments.flags import add_flags

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
    command.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="of this process (default: 1, as in a study: with more, sums are taken in another "
        "order, and the same seed ends in other weights)",
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="default: runs/MODEL-METHOD-SEED")
    command.add_argument("--resume", action="store_true", help="continue the run in --out")


def _train(options: argparse.Namespace) -> int:
    import torch

    from pruning_core.experiments.callbacks import ProgressBar
    from pruning_core.experiments.data import load
    from pruning_core.experiments.flags import from_flags
    from pruning_core.experiments.runs import train

    settings = from_flags(options)
    cores = os.cpu_count() or 1
    if not 1 <= options.threads <= cores:
        raise ValueError(f"threads is {options.threads}; expected 1 to {cores}, one a core")
    torch.set_num_threads(options.threads)
    out = options.out or Path("runs") / f"{settings.model}-{settings.method}-{settings.seed}"
    device = _device(options.device)
    dataset = load(options.dataset, options.data, split=options.split, device=device)
    summary = train(settings, dataset, out, resume=options.resume, callbacks=[ProgressBar()])
    print(_table(summary))
    print(f"written to {out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from pruning_core.experiments.data import load
    from pruning_core.export import load_model
    from pruning_core.metrics import error_percent, weighted_layers
    from pruning_core.models import IMAGE_SHAPE

    recorded, split, name = _recorded(options.directory)
    device = _device(options.device)
    model = load_model(options.directory).to(device)
    data = load(name, options.data, split=split, device=device)
    if (shape := tuple(data.eval_images.shape[1:])) != IMAGE_SHAPE:
        raise ValueError(
            f"{options.directory} reads images of shape {IMAGE_SHAPE}, but {options.data or name} "
            f"has {shape}; name the folder that it was trained on by --data"
        )
    classes = len(weighted_layers(model)[-1].weight)
    if classes != data.num_classes:
        raise ValueError(
            f"{options.directory} tells {classes} classes apart, but {options.data or name} has "
            f"{data.num_classes}; name the folder that it was trained on by --data"
        )
    error = error_percent(model, data.eval_images, data.eval_labels)
    print(f"{split} error {error:.2f} %, recorded {recorded:.2f} %")
    return 0 if abs(error - recorded) < 0.005 else 1


def _recorded(directory: Path) -> tuple[float, Literal["validation", "test"], str]:
    """Error, split and data set of a finished run."""
    from pruning_core.experiments.runs import SUMMARY_FILE
    from pruning_core.resizing import ModelFileError

    path = directory / SUMMARY_FILE
    try:
        summary = json.loads(read_regular(path, limit=10_000_000))
        error, split, name = (summary[k] for k in ("test_error_percent", "split", "dataset"))
        if type(error) not in (int, float) or not 0 <= error <= 100:
            raise TypeError(f"test_error_percent is {error!r:.50}")
        if split not in ("validation", "test"):
            raise ValueError(f"split is {split!r:.50}")
        if not isinstance(name, str):
            raise TypeError(f"dataset is {name!r:.50}")
    except OSError as error:
        raise ModelFileError(
            f"{path}: {error.strerror}; a folder written by 'pruning-core train' was expected"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged ({error}); train again") from error
    return error, split, name


def _table(summary: dict[str, Any]) -> str:
    from pruning_core.models import MODELS

    before, after = summary["architecture_dense"], summary["architecture"]
    names = MODELS[summary["model"]].names(before)
    rows = list(zip(names, before, after, strict=True))
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
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch finds no GPU; use --device cpu")
    return torch.device(name)
