"""The recommended operating points, ten seeds each, on the test set.

    python studies/operating_points.py            run what is missing, then print the verdicts
    python studies/operating_points.py --seeds 3  fewer seeds

The claims below were written down before the runs. A run that is finished is never repeated, one
that was interrupted resumes; the summaries are gathered in ``results/operating-points.csv``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats

from pruning_core.export import write_atomically

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs" / "operating-points"
RESULTS = ROOT / "results" / "operating-points.csv"


@dataclass(frozen=True)
class Point:
    """A setting and what it is to reach, as means over the seeds."""

    arguments: str
    error_percent: float
    weights_percent: float


POINTS = {
    "lenet-300-100": Point("lenet-300-100 --gate-inputs", 1.5, 10.0),
    "lenet-300-100-small": Point("lenet-300-100 --gate-inputs --log-gamma 56", 1.8, 5.0),
    "lenet-5": Point("lenet-5", 0.75, 7.0),
    "lenet-5-small": Point(
        "lenet-5 --log-gamma 380,380,120 --epochs 40 --bernoulli-epochs 30 --ramp-epochs 6 "
        "--theta-step 1/650 --weight-decay 0",
        0.95,
        1.5,
    ),
}
UNDECIDED_PERCENT, SAMPLING_GAP, WEIGHTS_SPREAD = 1.0, 0.05, 0.10


def main() -> None:
    """Run what is missing and print every claim with its verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=-1, help="runs at a time (default: cores)")
    parser.add_argument("--points", nargs="*", default=list(POINTS), choices=list(POINTS))
    options = parser.parse_args()
    run_missing(
        {
            RUNS / f"{name}-{seed}": f"{POINTS[name].arguments} --seed {seed}"
            for seed in range(options.seeds)
            for name in options.points
        },
        options.jobs,
    )
    rows = [row(path) for path in sorted(RUNS.glob("*/summary.json"))]
    RESULTS.parent.mkdir(exist_ok=True)
    write_atomically(RESULTS, pd.DataFrame(rows).to_csv(index=False).encode())
    text = verdicts(pd.read_csv(RESULTS))
    write_atomically(RESULTS.with_suffix(".txt"), f"{text}\n".encode())
    print(text)


def run_missing(runs: Mapping[Path, str], jobs: int) -> None:
    """Train by ``pruning-core train ARGUMENTS`` into each folder that holds no summary yet.

    Every run has a process of its own, with one thread. One that was interrupted resumes.
    """

    def run(out: Path, arguments: str) -> None:
        command = [sys.executable, "-m", "pruning_core.cli", "train", *arguments.split()]
        subprocess.run(
            [*command, "--out", str(out), "--resume"],
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )

    missing = {out: a for out, a in runs.items() if not (out / "summary.json").exists()}
    Parallel(n_jobs=jobs, prefer="threads")(delayed(run)(*item) for item in missing.items())


def row(path: Path) -> dict[str, Any]:
    """What the table keeps of a run."""
    summary = json.loads(path.read_text(encoding="utf-8"))
    kept = summary["weights_kept"] / summary["weights_total"]
    versions = summary["versions"]
    return {
        "point": path.parent.name.rpartition("-")[0],
        "seed": summary["seed"],
        "dataset": summary["dataset"],
        "split": summary["split"],
        "epochs": summary["epochs"],
        "architecture": "-".join(map(str, summary["architecture"])),
        "weights_kept": summary["weights_kept"],
        "weights_percent": round(100 * kept, 3),
        "macs": summary["macs"],
        "test_error_percent": summary["test_error_percent"],
        "best_test_error_percent": summary["best_test_error_percent"],
        "undecided": summary["undecided"],
        "surviving_units": summary["surviving_units"],
        "stochastic_test_error_percent": summary["stochastic_test_error_percent"],
        "deterministic_test_error_percent": summary["deterministic_test_error_percent"],
        "seconds": round(summary["seconds"], 1),
        "device": summary["device"],
        "package": versions["pruning-core"],
        "torch": versions["torch"],
        "settings": json.dumps(summary["settings"]),
    }


def verdicts(table: pd.DataFrame) -> str:
    """Every claim of every point: what was asked, what was found, whether it holds."""
    lines = []
    for name, runs in table.groupby("point"):
        point = POINTS[str(name)]
        column = {key: runs[key].to_numpy() for key in runs if key not in ("point", "settings")}
        undecided = 100 * column["undecided"].sum() / column["surviving_units"].sum()
        gap = (
            column["stochastic_test_error_percent"] - column["deterministic_test_error_percent"]
        ).mean()
        spread = column["weights_kept"].std(ddof=1) / column["weights_kept"].mean()
        lines.append(f"{name}, {len(runs)} seeds: {point.arguments}")
        for claim, found, limit in (
            ("test error %", mean_interval(column["test_error_percent"]), point.error_percent),
            ("weights kept %", mean_interval(column["weights_percent"]), point.weights_percent),
            ("undecided units %", (undecided, None), UNDECIDED_PERCENT),
            ("|sampled − deterministic| points", (abs(gap), None), SAMPLING_GAP),
            ("spread of weights kept", (spread, None), WEIGHTS_SPREAD),
        ):
            value, half = found
            interval = "" if half is None else f" ± {half:.3f}"
            verdict = "holds" if value <= limit else "FAILS"
            lines.append(f"  {claim:34}{value:8.3f}{interval:10} ≤ {limit:<6} {verdict}")
        lines.append(f"  {'MACs':34}{column['macs'].mean():8.0f}")
    return "\n".join(lines)


def mean_interval(values: np.ndarray) -> tuple[float, float | None]:
    """Mean and half the width of its 95 % t interval."""
    if len(values) < 2:
        return float(values.mean()), None
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(values.mean()), float(half)


if __name__ == "__main__":
    main()
