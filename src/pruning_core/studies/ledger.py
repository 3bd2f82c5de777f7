"""The ledger: claims that were written down before the studies ran, and what they found."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.studies.declaration import StudyError, load_study
from pruning_core.studies.intervals import STATISTICS, estimated
from pruning_core.studies.records import measures, table

_COMMAND = "pruning-core study run"

VERDICTS = ("holds", "holds partly", "fails", "not decided")


@dataclass(frozen=True)
class Condition:
    """One number that the study of a claim decides.

    Attributes:
        study: whose runs are read.
        points: names of settings; with several, the condition is about how much they differ.
        metric: a column of the study's table, or of
            :func:`pruning_core.studies.records.measures`.
        statistic: "mean" over the seeds; "largest" of the seeds; "spread", the standard deviation
            over the seeds divided by the mean; or "range", the largest mean of the points minus
            the smallest, divided by their mean.
        minus: a study, a point and a metric, whose value at the same seed is subtracted.
        at_most: the limit from above, or None.
        at_least: the limit from below, or None.
        whole_interval: the 95 % interval has to keep the limit, not only the estimate.
        seeds: how many are needed for a verdict.
    """

    study: str
    points: tuple[str, ...]
    metric: str
    statistic: str = "mean"
    minus: tuple[str, str, str] | None = None
    at_most: float | None = None
    at_least: float | None = None
    whole_interval: bool = False
    seeds: int = 10


@dataclass(frozen=True)
class Claim:
    """What a paper says, or this project was asked to show.

    Attributes:
        name: short and unique.
        text: the claim, in its author's terms.
        source: where it stands.
        published: the number that was published, if there is one.
        declared: whether the claim was written down before the runs that decide it.
        conditions: all have to be met.
    """

    name: str
    text: str
    source: str
    conditions: tuple[Condition, ...]
    published: str = ""
    declared: str = "before its runs"


@dataclass(frozen=True)
class Finding:
    """What a condition came to: an estimate with its 95 % interval, from n seeds.

    ``met`` is None where runs are missing.
    """

    condition: Condition
    estimate: float
    low: float
    high: float
    n: int
    met: bool | None

    @property
    def clear(self) -> bool | None:
        """Whether the whole interval is on the same side of the limit; None if there is none."""
        if self.met is None or np.isnan(self.low):
            return None
        limit = self.condition.at_most
        if limit is not None:
            return bool(self.high <= limit if self.met else self.low > limit)
        limit = self.condition.at_least
        assert limit is not None, "a condition has one of the two"
        return bool(self.low >= limit if self.met else self.high < limit)


def load_claims(path: Path) -> list[Claim]:
    """Read ``claims.toml``.

    Raises:
        StudyError: naming what is missing, unknown or double.
    """
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
        claims = [_claim(name, claim) for name, claim in declared.items()]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from error
    return claims


def decide(claim: Claim, root: Path) -> tuple[str, list[Finding]]:
    """The verdict on a claim, and what each of its conditions came to.

    A claim holds if all its conditions are met, partly if some are, and fails if none is; without
    enough seeds of one of them it is not decided.
    """
    findings = [find(condition, root) for condition in claim.conditions]
    met = [finding.met for finding in findings]
    if None in met:
        return "not decided", findings
    return ("holds" if all(met) else "holds partly" if any(met) else "fails"), findings


def decided(root: Path, studies: Collection[str] = ()) -> list[dict[str, Any]]:
    """Every claim with its verdict and what was found; numbers and text only.

    Args:
        root: the folder of ``studies/`` and ``results/``.
        studies: only claims that read one of these; all, if there are none.
    """
    found = []
    path = root / "studies" / "claims.toml"
    for claim in load_claims(path) if path.exists() or not studies else []:
        if studies and not any(c.study in studies for c in claim.conditions):
            continue
        verdict, findings = decide(claim, root)
        found.append(
            {
                "name": claim.name,
                "text": claim.text,
                "source": claim.source,
                "published": claim.published,
                "declared": claim.declared,
                "verdict": verdict,
                "conditions": [_told(finding) for finding in findings],
            }
        )
    return found


def as_text(claims: Sequence[Mapping[str, Any]]) -> str:
    """Claims as :func:`decided` gives them, for people."""
    lines = []
    for claim in claims:
        origin = f"{claim['source']}; declared {claim['declared']}"
        lines.append(f"{claim['verdict'].upper()}: {claim['text']} ({origin})")
        if claim["published"]:
            lines.append(f"    published: {claim['published']}")
        for condition in claim["conditions"]:
            lines.append(f"    {condition['said']}: {condition['found']}")
        lines += [
            f"    {_COMMAND} {study}"
            for study in dict.fromkeys(s for c in claim["conditions"] for s in c["studies"])
        ]
    return "\n".join(lines)


def find(condition: Condition, root: Path) -> Finding:
    """What the recorded runs say about a condition."""
    values = [_values(condition.study, point, condition.metric, root) for point in condition.points]
    if condition.minus is not None:
        # The same seed is the same data order and the same starting weights.
        values = [(v - _values(*condition.minus, root)).dropna() for v in values]
    n = min(len(v) for v in values)
    if n < condition.seeds:
        return Finding(condition, np.nan, np.nan, np.nan, n, None)
    estimate, low, high = estimated(condition.statistic, [v.to_numpy() for v in values])
    lowest, highest = (low, high) if condition.whole_interval else (estimate, estimate)
    met = (condition.at_most is None or highest <= condition.at_most) and (
        condition.at_least is None or lowest >= condition.at_least
    )
    return Finding(condition, estimate, low, high, n, bool(met))


def _told(finding: Finding) -> dict[str, Any]:
    condition = finding.condition
    subject = f"{condition.statistic} {condition.metric} of {condition.study}, "
    subject += " / ".join(condition.points)
    if condition.minus is not None:
        subject += f", minus {condition.minus[2]} of {condition.minus[0]}, {condition.minus[1]}"
    limits = (("≤", condition.at_most), ("≥", condition.at_least))
    limit = next(f"{sign} {number:g}" for sign, number in limits if number is not None)
    said = f"{subject} {limit}{', with its interval' if condition.whole_interval else ''}"
    text = f"{finding.n} of {condition.seeds} seeds"
    if finding.met is not None:
        text = f"{finding.estimate:.3f}"
        if not np.isnan(finding.low):
            text += f" [{finding.low:.3f}, {finding.high:.3f}]"
        text += f", {finding.n} seeds: {'met' if finding.met else 'NOT met'}"
    numbers = {key: getattr(finding, key) for key in ("estimate", "low", "high")}
    return {
        "said": said,
        "found": text,
        **{key: None if np.isnan(value) else value for key, value in numbers.items()},
        "n": finding.n,
        "met": finding.met,
        "clear": finding.clear,
        "studies": list(dict.fromkeys([condition.study, *(condition.minus or ())[:1]])),
        "command": f"{_COMMAND} {condition.study}",
    }


def _values(study: str, point: str, metric: str, root: Path) -> pd.Series:
    """Of each seed, where the point has run."""
    declared = load_study(study, root / "studies")
    if point not in declared.points:
        raise StudyError(f"{study} has no point {point!r}; it has {', '.join(declared.points)}")
    rows = table(declared, root / "results")
    rows = measures(rows.loc[rows["point"] == point])
    if not len(rows):
        return pd.Series(dtype=float)
    if metric not in rows:
        raise StudyError(f"{study} has no metric {metric!r}; it has {', '.join(rows.columns)}")
    return pd.Series(rows[metric].to_numpy(), index=rows["seed"].to_numpy()).dropna()


def _claim(name: str, declared: Mapping[str, Any]) -> Claim:
    _check(name, declared, Claim, {"name"})
    conditions = tuple(_condition(f"{name}, condition", c) for c in declared["conditions"])
    return Claim(name=name, **{**declared, "conditions": conditions})


def _condition(name: str, declared: Mapping[str, Any]) -> Condition:
    _check(name, declared, Condition, set())
    points, minus = declared["points"], declared.get("minus")
    condition = Condition(
        **{
            **declared,
            "points": tuple(points),
            "minus": None if minus is None else tuple(minus),
        }
    )
    if condition.statistic not in STATISTICS:
        raise ValueError(f"{name}: statistic is {condition.statistic!r}; {', '.join(STATISTICS)}")
    if (condition.at_most is None) == (condition.at_least is None):
        raise ValueError(f"{name} needs at_most or at_least, one of them")
    if (len(points) > 1) != (condition.statistic == "range"):
        raise ValueError(f"{name}: several points go with the statistic 'range', and only there")
    return condition


def _check(name: str, declared: Mapping[str, Any], kind: type, given: set[str]) -> None:
    known = {f.name for f in fields(kind)} - given
    if unknown := set(declared) - known:
        raise ValueError(f"{name} has unknown keys {sorted(unknown)}; {sorted(known)} are known")
