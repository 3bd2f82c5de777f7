"""Claims, as ``claims.toml`` has them: what is asserted, and what would decide it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pruning_core.studies.archive import Archive
from pruning_core.studies.conditions import Condition
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.intervals import STATISTICS

SOURCES = {
    "abstract": "The two abstracts",
    "successor": "Two later abstracts",
    "target": "Targets of this project",
    "baseline": "Soundness of the baselines",
    "question": "Questions of ours",
}
"""Where a claim comes from, in the order of the ledger."""

FRONTS = ("front", "lead")
"""Statistics that set a point beside published results and our own baselines."""

_SPREADS = ("spread", "range", "ratio", "beyond")
"""Statistics that one seed does not have."""

_POINTS = {"range": (2, 99), "ratio": (2, 2), "beyond": (2, 2), "alike": (1, 99)}
"""How few and how many points go with a statistic; one with the others."""


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


def all_claims(archive: Archive) -> list[Claim]:
    """Those of the archive's ``studies/claims.toml``, read once."""
    return list(archive.read(load_claims, archive.studies / "claims.toml"))


def load_claims(path: Path) -> list[Claim]:
    """Read ``claims.toml``.

    Raises:
        StudyError: naming what is missing, unknown, double or of the wrong type.
    """
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
        return [_claim(name, claim) for name, claim in declared.items()]
    except FileNotFoundError as error:
        raise StudyError(f"there is no {path}; name the folder of studies/ by --root") from error
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from error


def _claim(name: str, declared: object) -> Claim:
    found = _checked(name, declared, Claim)
    if not isinstance(found["conditions"], list):
        raise ValueError(f"{name}: conditions is {found['conditions']!r}; a list was expected")
    conditions = tuple(_condition(f"{name}, condition", c) for c in found["conditions"])
    claim = Claim(**{**found, "name": name, "conditions": conditions})
    if claim.source not in SOURCES:
        raise ValueError(f"{name}: source is {claim.source!r}; {', '.join(SOURCES)}")
    if all(condition.control for condition in conditions):
        raise ValueError(f"{name} has no condition that counts, and would hold whatever was found")
    return claim


def _condition(name: str, declared: object) -> Condition:
    found = _checked(name, declared, Condition)
    points, minus, beside = found["points"], found.get("minus"), found.get("beside")
    if not (_are_names(points) and points):
        raise ValueError(f"{name}: points is {points!r}; a list of names was expected")
    if minus is not None and not (_are_names(minus) and len(minus) == 3):
        raise ValueError(f"{name}: minus is {minus!r}; a study, a point and a metric were expected")
    if beside is not None and not (_are_names(beside) and len(beside) == 3 and minus):
        raise ValueError(
            f"{name}: beside is {beside!r}; a study and two points of it were expected, with minus"
        )
    limits = [found[key] for key in ("at_most", "at_least") if key in found]
    if len(limits) != 1:
        raise ValueError(f"{name} needs at_most or at_least, one of them")
    if type(limits[0]) not in (int, float) or not np.isfinite(limits[0]):
        raise ValueError(f"{name}: the limit is {limits[0]!r}; a finite number was expected")
    triples = {"minus": minus, "beside": beside}
    triples = {key: None if value is None else tuple(value) for key, value in triples.items()}
    condition = Condition(**{**found, **triples, "points": tuple(points)})
    known = (*STATISTICS, *FRONTS, "line")
    if condition.statistic not in known:
        raise ValueError(f"{name}: statistic is {condition.statistic!r}; {', '.join(known)}")
    few, many = _POINTS.get(condition.statistic, (1, 1))
    if not few <= len(points) <= many:
        asked = few if few == many else f"{few} or more"
        raise ValueError(
            f"{name}: {len(points)} points, but the statistic {condition.statistic!r} is of {asked}"
        )
    if minus is not None and condition.statistic in FRONTS:
        raise ValueError(f"{name}: minus does not go with the statistic {condition.statistic!r}")
    if minus is None and condition.statistic == "line":
        raise ValueError(f"{name}: the statistic 'line' needs minus, the points of the line")
    least = 2 if condition.whole_interval or condition.statistic in _SPREADS else 1
    if type(condition.seeds) is not int or condition.seeds < least:
        raise ValueError(
            f"{name}: seeds is {condition.seeds!r}; a number, at least {least}, was expected"
        )
    return condition


def _checked(name: str, declared: object, kind: type[Claim | Condition]) -> Mapping[str, Any]:
    """A table of the fields of a class, those that are text or true or false as they should be."""
    if not isinstance(declared, dict):
        raise ValueError(f"{name} is {declared!r}; a table was expected")
    known = {f.name: str(f.type) for f in fields(kind) if (kind, f.name) != (Claim, "name")}
    needed = [f.name for f in fields(kind) if f.name in known and f.default is MISSING]
    if unknown := set(declared) - set(known):
        raise ValueError(f"{name} has unknown keys {sorted(unknown)}; {sorted(known)} are known")
    if missing := [key for key in needed if key not in declared]:
        raise ValueError(f"{name} lacks {', '.join(map(repr, missing))}")
    for key, value in declared.items():
        if known[key] == "str" and not isinstance(value, str):
            raise ValueError(f"{name}: {key} is {value!r}; text was expected")
        if known[key] == "bool" and not isinstance(value, bool):
            raise ValueError(f"{name}: {key} is {value!r}; true or false was expected")
    return declared


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
