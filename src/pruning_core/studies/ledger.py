"""The ledger: claims that were written down before the studies ran, and what they found."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.studies import feature_selection, fronts, published, small_networks
from pruning_core.studies.archive import Archive
from pruning_core.studies.claims import FRONTS, SOURCES, Claim, all_claims
from pruning_core.studies.conditions import ALONE, Condition, Finding, curve, told
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.intervals import estimated

VERDICTS = ("holds", "fails", "open")

_TABLES = {
    "feature-selection": (feature_selection.load, feature_selection.FILE, []),
    "small-networks": (small_networks.load, small_networks.FILE, small_networks.POINTS),
}
"""Of each study that stands alone: who reads it, its file, and its points; none: those there."""

_ABSTRACT = {"paper": str, "method": str, "sentences": list, "not_tested": list}
_SENTENCE = {"says": str, "claims": list, "derived": str, "note": str}


def decide(claim: Claim, archive: Archive) -> tuple[str, list[Finding]]:
    """The verdict on a claim, and what each of its conditions came to.

    A claim is one assertion: it holds if all its conditions are met, and fails if one is not;
    without enough seeds of one of them it is open. Control conditions do not count.
    """
    findings = [find(condition, archive) for condition in claim.conditions]
    met = [finding.met for finding in findings if not finding.condition.control]
    if None in met:
        return "open", findings
    return ("holds" if all(met) else "fails"), findings


def decided(archive: Archive, studies: Collection[str] = ()) -> list[dict[str, Any]]:
    """Every claim with its verdict and what was found; numbers and text only.

    ``headline`` is the condition that says most: the first that is not met, or else the first.
    ``clear`` tells whether the verdict would be the same by whole intervals: every condition of a
    claim that holds keeps its limit with its whole interval, or one of a claim that fails misses it
    with its whole interval.

    Args:
        archive: of the studies.
        studies: only claims that read one of these; all, if there are none.
    """
    # A study may run in a folder without claims; whoever asks for all of them wants some.
    none = studies and not (archive.studies / "claims.toml").exists()
    claims = [] if none else all_claims(archive)
    read = [c for c in claims if not studies or any(x.study in studies for x in c.conditions)]
    return [_decided(claim, archive) for claim in read]


def abstracts(archive: Archive, source: str | None = None) -> list[dict[str, Any]]:
    """The abstracts as ``studies/abstracts.toml`` has them, sentence by sentence.

    Args:
        archive: of the studies.
        source: of their claims, "abstract" or "successor"; all abstracts by default.

    Returns:
        Of each its ``paper``, its ``method``, its ``sentences`` and what was ``not_tested``; a
        sentence says something (``says``), and has ``claims``, a list of names, or the chapter
        where it is ``derived``, and perhaps a ``note``. Empty if there is no such file.

    Raises:
        StudyError: if it cannot be read, or names a claim that there is not.
    """
    path = archive.studies / "abstracts.toml"
    if not path.exists():
        return []
    found = archive.read(_load_abstracts, path)
    sources = {claim.name: claim.source for claim in all_claims(archive)}
    named = [{n for s in a["sentences"] for n in s.get("claims", ())} for a in found]
    if unknown := set().union(*named) - set(sources):
        raise StudyError(
            f"{path} names claims that claims.toml lacks: {', '.join(sorted(unknown))}"
        )
    return [
        abstract
        for abstract, names in zip(found, named, strict=True)
        if source is None or source in {sources[name] for name in names}
    ]


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


def find(condition: Condition, archive: Archive) -> Finding:
    """What the recorded runs say about a condition."""
    if condition.statistic in FRONTS:
        n, found = _beside_others(condition, archive)
    elif condition.statistic == "line":
        n, found = _beside_curve(condition, archive)
    else:
        n, found = _over_seeds(condition, archive)
    if found is None:
        return Finding(condition, np.nan, np.nan, np.nan, n, None)
    estimate, low, high = found
    lowest, highest = (low, high) if condition.whole_interval else (estimate, estimate)
    met = (condition.at_most is None or highest <= condition.at_most) and (
        condition.at_least is None or lowest >= condition.at_least
    )
    return Finding(condition, estimate, low, high, n, bool(met))


def _over_seeds(condition: Condition, archive: Archive) -> tuple[int, fronts.Estimate | None]:
    """Number of seeds, and the statistic of their values; None if there are too few."""
    values = [
        _values(condition.study, point, condition.metric, archive) for point in condition.points
    ]
    if condition.minus is not None:
        # The same seed is the same data order and the same starting weights.
        values = [(v - _values(*condition.minus, archive)).dropna() for v in values]
    if condition.beside is not None:
        study, *points = condition.beside
        first, second = (_values(study, point, condition.metric, archive) for point in points)
        values = [(v - (first - second)).dropna() for v in values]
    n = min(len(v) for v in values)
    if n < condition.seeds:
        return n, None
    return n, estimated(condition.statistic, [v.to_numpy() for v in values])


def _beside_others(condition: Condition, archive: Archive) -> tuple[int, fronts.Estimate | None]:
    """Number of seeds, and where their mean lies beside all structured results of the model."""
    (point,) = condition.points
    size = "weights_percent" if condition.statistic == "lead" else condition.metric
    rows = _rows(condition.study, point, archive)
    if len(rows) < condition.seeds:
        return len(rows), None
    others = published.rivals(archive, str(rows["model"].iloc[0]), "structured")
    place = fronts.front if condition.statistic == "front" else fronts.lead
    return len(rows), place(rows, others, size)


def _beside_curve(condition: Condition, archive: Archive) -> tuple[int, fronts.Estimate | None]:
    """Number of seeds, and where their mean lies beside other points; None if one has too few."""
    assert condition.minus is not None
    study, _, size = condition.minus
    (point,) = condition.points
    rows = _rows(condition.study, point, archive)
    others = [_rows(study, other, archive) for other in curve(condition, archive)]
    n = min(map(len, (rows, *others)))
    return n, fronts.beside(rows, others, size) if n >= condition.seeds else None


def _values(study: str, point: str, metric: str, archive: Archive) -> pd.Series:
    """Of each seed, where the point has run."""
    rows = _rows(study, point, archive)
    if not len(rows):
        return pd.Series(dtype=float)
    if metric not in rows or not pd.api.types.is_numeric_dtype(rows[metric]):
        numbers = rows.select_dtypes("number").columns
        raise StudyError(f"{study} has no metric {metric!r}; it has {', '.join(numbers)}")
    return pd.Series(rows[metric].to_numpy(), index=rows["seed"].to_numpy()).dropna()


def _rows(study: str, point: str, archive: Archive) -> pd.DataFrame:
    """The recorded runs of a point, with shares in percent."""
    if study in ALONE:
        load, file, points = _TABLES[study]
        rows = archive.read(load, archive / file).rename(columns={"penalty": "point"})
        known = points or list(rows["point"].unique()) or [point]
    else:
        rows, known = archive.rows(study), archive.study(study).points
    if point not in known:
        raise StudyError(f"{study} has no point {point!r}; it has {', '.join(known)}")
    return rows.loc[rows["point"] == point]


def _decided(claim: Claim, archive: Archive) -> dict[str, Any]:
    verdict, findings = decide(claim, archive)
    conditions = [told(finding, archive) for finding in findings]
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


def _load_abstracts(path: Path) -> list[dict[str, Any]]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, abstract in found.items():
            _check(name, abstract, _ABSTRACT, set(_ABSTRACT))
            for sentence in abstract["sentences"]:
                _check(f"{name}, sentence", sentence, _SENTENCE, {"says"})
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from error
    return list(found.values())


def _check(name: str, declared: object, kinds: Mapping[str, type], needed: set[str]) -> None:
    if not isinstance(declared, dict):
        raise ValueError(f"{name} is {declared!r}; a table was expected")
    if missing := needed - set(declared):
        raise ValueError(f"{name} lacks {', '.join(map(repr, sorted(missing)))}")
    for key, kind in kinds.items():
        if key in declared and not isinstance(declared[key], kind):
            expected = "text" if kind is str else "a list"
            raise ValueError(f"{name}: {key} is {declared[key]!r}; {expected} was expected")
