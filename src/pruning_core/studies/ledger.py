"""The ledger: claims that were written down before the studies ran, and what they found."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.studies import fronts, published
from pruning_core.studies.conditions import FEATURES, Condition, Finding, told
from pruning_core.studies.declaration import StudyError, load_study
from pruning_core.studies.intervals import STATISTICS, estimated
from pruning_core.studies.records import measures, table

VERDICTS = ("holds", "fails", "open")

SOURCES = {
    "abstract": "The two abstracts",
    "target": "Targets of this project",
    "baseline": "Soundness of the baselines",
    "question": "Questions of ours",
}
"""Where a claim comes from, in the order of the ledger."""

_FRONTS = ("front", "lead")
"""Statistics that set a point beside published results and our own baselines."""


@dataclass(frozen=True)
class Claim:
    """One assertion of a paper, of this project, or of its authors.

    Attributes:
        name: short and unique.
        text: the claim, in its author's terms.
        short: a few words of it, for a table.
        source: where it comes from, of :data:`SOURCES`.
        conditions: all that count have to be met.
        published: the number that was published, if there is one.
        declared: whether the claim was written down before the runs that decide it.
        note: a caveat in a sentence, shown with the verdict.
    """

    name: str
    text: str
    short: str
    source: str
    conditions: tuple[Condition, ...]
    published: str = ""
    declared: str = "before its runs"
    note: str = ""


def load_claims(path: Path) -> list[Claim]:
    """Read ``claims.toml``.

    Raises:
        StudyError: naming what is missing, unknown, double or of the wrong type.
    """
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
        return [_claim(name, claim) for name, claim in declared.items()]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from error


def decide(claim: Claim, root: Path) -> tuple[str, list[Finding]]:
    """The verdict on a claim, and what each of its conditions came to.

    A claim is one assertion: it holds if all its conditions are met, and fails if one is not;
    without enough seeds of one of them it is open. Control conditions do not count.
    """
    findings = [find(condition, root) for condition in claim.conditions]
    met = [finding.met for finding in findings if not finding.condition.control]
    if None in met:
        return "open", findings
    return ("holds" if all(met) else "fails"), findings


def decided(root: Path, studies: Collection[str] = ()) -> list[dict[str, Any]]:
    """Every claim with its verdict and what was found; numbers and text only.

    ``headline`` is the condition that says most: the first that is not met, or else the first.
    ``clear`` tells whether the verdict would be the same by whole intervals: every condition of a
    claim that holds keeps its limit with its whole interval, or one of a claim that fails misses it
    with its whole interval.

    Args:
        root: the folder of ``studies/`` and ``results/``.
        studies: only claims that read one of these; all, if there are none.
    """
    path = root / "studies" / "claims.toml"
    claims = load_claims(path) if path.exists() or not studies else []
    read = [c for c in claims if not studies or any(x.study in studies for x in c.conditions)]
    return [_decided(claim, root) for claim in read]


def abstracts(root: Path) -> list[dict[str, Any]]:
    """The two abstracts as ``studies/abstracts.toml`` has them, sentence by sentence.

    Returns:
        Of each its ``paper``, its ``method``, its ``sentences`` and what was ``not_tested``; a
        sentence says something (``says``), and has ``claims``, a list of names, or the chapter
        where it is ``derived``, and perhaps a ``note``. Empty if there is no such file.

    Raises:
        StudyError: if it cannot be read, or names a claim that there is not.
    """
    path = root / "studies" / "abstracts.toml"
    if not path.exists():
        return []
    try:
        found = list(tomllib.loads(path.read_text(encoding="utf-8")).values())
        named = [n for a in found for s in a["sentences"] for n in s.get("claims", ())]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from error
    if unknown := set(named) - {claim.name for claim in load_claims(path.with_name("claims.toml"))}:
        raise StudyError(
            f"{path} names claims that claims.toml lacks: {', '.join(sorted(unknown))}"
        )
    return found


def counts(claims: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Of each source: how many claims hold, fail and are open.

    "whole interval" and "before" count among those that hold: whose conditions all keep their
    limits with their whole intervals, and which were declared before their runs.
    """
    found = {}
    for source, title in SOURCES.items():
        of_source = [claim for claim in claims if claim["source"] == source]
        hold = [claim for claim in of_source if claim["verdict"] == "holds"]
        found[title] = {
            "claims": len(of_source),
            **{v: sum(claim["verdict"] == v for claim in of_source) for v in VERDICTS},
            "whole interval": sum(claim["clear"] is True for claim in hold),
            "before": sum(c["declared"] == "before its runs" for c in hold),
        }
    return pd.DataFrame.from_dict(found, orient="index")


def find(condition: Condition, root: Path) -> Finding:
    """What the recorded runs say about a condition."""
    if condition.statistic in _FRONTS:
        n, found = _beside_others(condition, root)
    else:
        n, found = _over_seeds(condition, root)
    if found is None:
        return Finding(condition, np.nan, np.nan, np.nan, n, None)
    estimate, low, high = found
    lowest, highest = (low, high) if condition.whole_interval else (estimate, estimate)
    met = (condition.at_most is None or highest <= condition.at_most) and (
        condition.at_least is None or lowest >= condition.at_least
    )
    return Finding(condition, estimate, low, high, n, bool(met))


def _over_seeds(condition: Condition, root: Path) -> tuple[int, fronts.Estimate | None]:
    """Number of seeds, and the statistic of their values; None if there are too few."""
    values = [_values(condition.study, point, condition.metric, root) for point in condition.points]
    if condition.minus is not None:
        # The same seed is the same data order and the same starting weights.
        values = [(v - _values(*condition.minus, root)).dropna() for v in values]
    n = min(len(v) for v in values)
    if n < condition.seeds:
        return n, None
    return n, estimated(condition.statistic, [v.to_numpy() for v in values])


def _beside_others(condition: Condition, root: Path) -> tuple[int, fronts.Estimate | None]:
    """Number of seeds, and where their mean lies beside all structured results of the model."""
    (point,) = condition.points
    size = "weights_percent" if condition.statistic == "lead" else condition.metric
    rows = _rows(condition.study, point, root)
    if len(rows) < condition.seeds:
        return len(rows), None
    others = published.rivals(root, str(rows["model"].iloc[0]), "structured")
    place = fronts.front if condition.statistic == "front" else fronts.lead
    return len(rows), place(rows, others, size)


def _values(study: str, point: str, metric: str, root: Path) -> pd.Series:
    """Of each seed, where the point has run."""
    rows = _rows(study, point, root)
    if not len(rows):
        return pd.Series(dtype=float)
    if metric not in rows or not pd.api.types.is_numeric_dtype(rows[metric]):
        numbers = rows.select_dtypes("number").columns
        raise StudyError(f"{study} has no metric {metric!r}; it has {', '.join(numbers)}")
    return pd.Series(rows[metric].to_numpy(), index=rows["seed"].to_numpy()).dropna()


def _rows(study: str, point: str, root: Path) -> pd.DataFrame:
    """The recorded runs of a point, with shares in percent."""
    files = (root / "studies" / f"{study}.toml", root / "results" / f"{study}.csv")
    stamp = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)
    if study == FEATURES and not files[1].exists():
        return pd.DataFrame()
    known, rows = _recorded(study, root, stamp)
    if point not in known:
        raise StudyError(f"{study} has no point {point!r}; it has {', '.join(known)}")
    return rows.loc[rows["point"] == point]


@lru_cache(maxsize=64)
def _recorded(study: str, root: Path, stamp: tuple[int, ...]) -> tuple[list[str], pd.DataFrame]:
    """Points and runs of a study; read anew if a file has changed since, as its stamp tells."""
    if study == FEATURES:
        rows = pd.read_csv(root / "results" / f"{FEATURES}.csv")
        rows = rows.rename(columns={"penalty": "point"})
        return list(rows["point"].unique()), rows
    declared = load_study(study, root / "studies")
    return declared.points, measures(table(declared, root / "results"))


def _decided(claim: Claim, root: Path) -> dict[str, Any]:
    verdict, findings = decide(claim, root)
    conditions = [told(finding, root) for finding in findings]
    counted = [condition for condition in conditions if not condition["control"]]
    clear = [condition["clear"] is True for condition in counted if condition["met"] is False]
    return {
        **{f.name: getattr(claim, f.name) for f in fields(claim) if f.name != "conditions"},
        "verdict": verdict,
        "clear": {
            "holds": all(condition["clear"] is True for condition in counted),
            "fails": any(clear),
            "open": None,
        }[verdict],
        "headline": next((c for c in counted if c["met"] is False), counted[0]),
        "conditions": conditions,
    }


def _claim(name: str, declared: Mapping[str, Any]) -> Claim:
    _check(name, declared, Claim, {"name"})
    conditions = tuple(_condition(f"{name}, condition", c) for c in declared["conditions"])
    claim = Claim(name=name, **{**declared, "conditions": conditions})
    if claim.source not in SOURCES:
        raise ValueError(f"{name}: source is {claim.source!r}; {', '.join(SOURCES)}")
    if all(condition.control for condition in conditions):
        raise ValueError(f"{name} has no condition that counts, and would hold whatever was found")
    return claim


def _condition(name: str, declared: Mapping[str, Any]) -> Condition:
    _check(name, declared, Condition, set())
    points, minus = declared["points"], declared.get("minus")
    if not (isinstance(points, list) and points):
        raise ValueError(f"{name}: points is {points!r}; a list of names was expected")
    if minus is not None and not (isinstance(minus, list) and len(minus) == 3):
        raise ValueError(f"{name}: minus is {minus!r}; a study, a point and a metric were expected")
    limits = [declared[key] for key in ("at_most", "at_least") if key in declared]
    if len(limits) != 1:
        raise ValueError(f"{name} needs at_most or at_least, one of them")
    if isinstance(limits[0], str | bool) or not np.isfinite(limits[0]):
        raise ValueError(f"{name}: the limit is {limits[0]!r}; a finite number was expected")
    seeds = declared.get("seeds", 1)
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"{name}: seeds is {seeds!r}; a number, at least 1, was expected")
    condition = Condition(
        **{
            **declared,
            "points": tuple(points),
            "minus": None if minus is None else tuple(minus),
        }
    )
    known = (*STATISTICS, *_FRONTS)
    if condition.statistic not in known:
        raise ValueError(f"{name}: statistic is {condition.statistic!r}; {', '.join(known)}")
    if (len(points) > 1) != (condition.statistic == "range"):
        raise ValueError(f"{name}: several points go with the statistic 'range', and only there")
    return condition


def _check(name: str, declared: Mapping[str, Any], kind: type, given: set[str]) -> None:
    known = {f.name for f in fields(kind)} - given
    if unknown := set(declared) - known:
        raise ValueError(f"{name} has unknown keys {sorted(unknown)}; {sorted(known)} are known")
