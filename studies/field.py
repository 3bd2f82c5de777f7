"""HALO and the methods around it, on full MNIST.

    python studies/field.py search   the settings tried, one seed each, on the validation split
    python studies/field.py          ten seeds of the chosen ones, on the test set, and verdicts

The claims below were written down before the ten seeds ran. A run that is finished is never
repeated, one that was interrupted resumes. The summaries are gathered in
``results/field-search.csv`` and ``results/field.csv``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from operating_points import ROOT, mean_interval, run_missing
from scipy import stats

from pruning_core.export import write_atomically

RUNS = ROOT / "runs" / "field"
RESULTS = ROOT / "results" / "field.csv"
SEARCH = ROOT / "results" / "field-search.csv"

GRIDS: dict[str, tuple[str, ...]] = {
    "halo": (
        "--xi 1e-5 --psi 3e-5",
        "--xi 2e-5 --psi 5e-5",
        "--xi 2e-5 --psi 5e-5 --proximal",
        "--xi 4e-5 --psi 5e-5",
        "--xi 2e-5 --psi 1e-4",
        "--xi 3e-5 --psi 8e-5",
        "--xi 1e-6 --psi 2e-4",
        "--xi 1e-7 --psi 5e-4",
        "--xi 1e-7 --psi 5e-4 --ramp-epochs 15",
    ),
    "l1": ("--strength 1e-5", "--strength 3e-5", "--strength 1e-4", "--strength 2e-4"),
    "sws": (
        "--xi 1e-5 --psi 1e-2",
        "--xi 3e-5 --psi 3e-2",
        "--xi 1e-4 --psi 1e-1",
        "--xi 1e-4 --psi 3e-2",
    ),
    "ridge": ("--strength 1e-5", "--strength 3e-5", "--strength 1e-4", "--strength 3e-4"),
    "bridge": ("--strength 4e-5", "--strength 7e-5", "--strength 1e-4", "--strength 1.4e-4"),
    "group-lasso": ("--strength 1e-5", "--strength 3e-5", "--strength 6e-5", "--strength 1e-4"),
    "iterative-magnitude": (
        "--zeros-percent 95",
        "--zeros-percent 95 --weight-decay 6",
        "--zeros-percent 95 --weight-decay 6 --fine-tune-epochs 45",
        "--zeros-percent 95 --weight-decay 20",
    ),
    "magnitude": (
        "--zeros-percent 95",
        "--zeros-percent 95 --weight-decay 6",
        "--zeros-percent 95 --weight-decay 6 --layerwise",
        "--zeros-percent 95 --weight-decay 6 --fine-tune-epochs 30",
    ),
    "snip": (
        "--zeros-percent 95",
        "--zeros-percent 95 --weight-decay 6",
        "--zeros-percent 95 --weight-decay 20",
        "--zeros-percent 95 --weight-decay 6 --learning-rate 0.05",
    ),
    "random": ("--zeros-percent 95",),
    "l0": ("--strength 3e-7", "--strength 1e-6", "--strength 3e-6", "--strength 1e-6 --theta 0.6"),
    "sparse-vd": (
        "--strength 1e-5",
        "--strength 1.67e-5",
        "--strength 1.67e-5 --learning-rate 2e-3",
        "--strength 1.67e-5 --ramp-epochs 30",
    ),
}
"""What is tried of HALO, and of each method around it: of those, four settings at most."""

INPUTS = {
    ("lenet-300-100", "l0"): " --gate-inputs",
    ("lenet-300-100", "group-lasso"): " --gate-inputs",
}
"""Added to every setting: published structured rows of LeNet-300-100 lose pixels too."""


@dataclass(frozen=True)
class Claim:
    """The error of a point is at most ``error_percent``, at ``zeros_percent`` of zeros.

    The error is that of the curve; or of the network as it is, if that has more zeros, or no
    zeros are named.
    """

    point: str
    error_percent: float
    zeros_percent: float | None = None
    source: str = "asked"


_300, _5 = "lenet-300-100 --method", "lenet-5 --method"
POINTS: dict[str, str] = {
    "lenet-300-100-halo": f"{_300} halo",
    "lenet-300-100-halo-large": f"{_300} halo --xi 1.2e-5 --psi 3.5e-5",
    "lenet-300-100-halo-small": f"{_300} halo --xi 3e-5 --psi 1e-4",
    "lenet-5-halo": f"{_5} halo",
    "lenet-300-100-magnitude": f"{_300} magnitude --zeros-percent 95",
    "lenet-300-100-iterative": f"{_300} iterative-magnitude --zeros-percent 95",
}
CLAIMS = (
    Claim("lenet-300-100-halo-large", 1.6, 95),
    Claim("lenet-300-100-halo", 1.75, 98.5),
    Claim("lenet-300-100-halo-small", 2.1, 99.3),
    Claim("lenet-5-halo", 0.8, 98),
    Claim("lenet-5-halo", 0.9, 99),
)
DIFFERENCES = (
    ("lenet-300-100-halo-large", "lenet-300-100-magnitude", 95),
    ("lenet-300-100-halo-large", "lenet-300-100-iterative", 95),
)
"""Pairs whose errors are compared at a share of zeros."""


def main() -> None:
    """Run what is missing, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", nargs="?", default="points", choices=("points", "search"))
    parser.add_argument("--models", nargs="*", default=["lenet-300-100", "lenet-5"])
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=-1, help="runs at a time (default: cores)")
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    if options.what == "search":
        search(options.models, options.methods or list(GRIDS), options.jobs)
        return
    chosen = {
        name: arguments
        for name, arguments in POINTS.items()
        if arguments.split()[0] in options.models
        and (not options.methods or arguments.split()[2] in options.methods)
    }
    run_missing(
        {
            RUNS / f"{name}-{seed}": f"{arguments} --seed {seed}"
            for seed in range(options.seeds)
            for name, arguments in chosen.items()
        },
        options.jobs,
    )
    write_table(RESULTS, (f for n in POINTS for f in sorted(RUNS.glob(f"{n}-[0-9]*"), key=seed)))
    text = verdicts(pd.read_csv(RESULTS))
    write_atomically(RESULTS.with_suffix(".txt"), f"{text}\n".encode())
    print(text)


def search(models: list[str], methods: list[str], jobs: int) -> None:
    """Every setting of the grids on the validation split."""
    runs = {
        RUNS / "search" / "_".join(f"{model} {method} {setting}".split()): (
            f"{model} --method {method} {setting}{INPUTS.get((model, method), '')} "
            "--split validation"
        )
        for model in models
        for method in methods
        for setting in GRIDS[method]
    }
    run_missing(runs, jobs)
    write_table(SEARCH, sorted((RUNS / "search").iterdir()))
    columns = ["point", "zeros_percent", "macs", "test_error_percent", "error_at_95"]
    print(pd.read_csv(SEARCH).reindex(columns=columns).to_string(index=False))


def write_table(path: Path, folders: Iterable[Path]) -> None:
    """A row for each finished run."""
    rows = [row(folder) for folder in folders if (folder / "summary.json").exists()]
    write_atomically(path, pd.DataFrame(rows).to_csv(index=False).encode())


def seed(folder: Path) -> int:
    """Of the run in a folder."""
    return int(folder.name.rpartition("-")[2])


def row(folder: Path) -> dict[str, Any]:
    """What the table keeps of a run."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    curve = summary.get("sparsity_curve", {})
    kept = summary["weights_kept"] / summary["weights_total"]
    seeded = summary["split"] == "test"
    return {
        "point": folder.name.rpartition("-")[0] if seeded else folder.name.replace("_", " "),
        "model": summary["model"],
        "method": summary["method"],
        "seed": summary["seed"],
        "split": summary["split"],
        "epochs": summary["epochs"],
        "architecture": "-".join(map(str, summary["architecture"])),
        "zeros_percent": round(100 * (1 - kept), 3),
        "macs": summary["macs"],
        "test_error_percent": summary["test_error_percent"],
        **{f"error_at_{zeros}": error for zeros, error in curve.items()},
        "seconds": round(summary["seconds"], 1),
        "device": summary["device"],
        "package": summary["versions"]["pruning-core"],
        "torch": summary["versions"]["torch"],
        "settings": json.dumps(summary["settings"]),
    }


def verdicts(table: pd.DataFrame) -> str:
    """Every point, every claim with what was found, and the differences."""
    lines = [f"{'point':34}{'seeds':>5}{'zeros %':>9}{'MACs':>11}  {'error % of the network':24}"]
    for name, runs in table.groupby("point", sort=False):
        zeros, macs = runs["zeros_percent"].mean(), runs["macs"].mean()
        error = interval(runs["test_error_percent"].to_numpy())
        lines.append(f"{name:34}{len(runs):5}{zeros:9.2f}{macs:11.0f}  {error}")
    lines += ["", f"{'claim':34}{'zeros %':>9}  {'error %':22}{'limit':>6}"]
    for claim in CLAIMS:
        found = errors(table, claim.point, claim.zeros_percent)
        if not len(found):
            lines.append(f"{claim.point:34}{'':9}  not run")
            continue
        asked = "" if claim.zeros_percent is None else f"{claim.zeros_percent:g}"
        verdict = "holds" if found.mean() <= claim.error_percent else "FAILS"
        lines.append(
            f"{claim.point:34}{asked:>9}  {interval(found):22}{claim.error_percent:6.2f}  "
            f"{verdict}  ({claim.source})"
        )
    lines += ["", "differences of the errors, in points, with the 95 % interval of Welch"]
    for first, second, zeros in DIFFERENCES:
        a, b = (errors(table, name, zeros) for name in (first, second))
        if min(len(a), len(b)) < 2:
            continue
        bounds = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
        lines.append(
            f"{first} − {second} at {zeros:g} % zeros: {a.mean() - b.mean():+.3f} "
            f"[{bounds.low:+.3f}, {bounds.high:+.3f}]"
        )
    return "\n".join(lines)


def errors(table: pd.DataFrame, point: str, zeros_percent: float | None) -> np.ndarray:
    """Error of each seed in percent, at the share of zeros: by the curve, where it has that share.

    Elsewhere it is that of the network as it is, whose mean share is then at least that one,
    rounded to as many digits.
    """
    runs = table[table["point"] == point]
    column = f"error_at_{zeros_percent:g}" if zeros_percent is not None else ""
    if column in runs:
        return np.asarray(runs[column])
    if zeros_percent is not None and len(runs):
        zeros = float(np.asarray(runs["zeros_percent"]).mean())
        if round(zeros, 1) < zeros_percent:
            raise ValueError(f"{point} has {zeros:.2f} % zeros, fewer than {zeros_percent} %")
    return np.asarray(runs["test_error_percent"])


def interval(values: np.ndarray) -> str:
    """Mean and 95 % interval as text."""
    value, half = mean_interval(values)
    return f"{value:.3f}" + ("" if half is None else f" ± {half:.3f}")


if __name__ == "__main__":
    main()
