"""A condition of a claim, what it came to, and both in words that a reader understands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError

ALONE = {"feature-selection": "feature_selection", "small-networks": "small_networks"}
"""Studies that have no declaration, but a module and a table of their own; the points of these are
called what readers call them.

:meta hide-value:
"""


@dataclass(frozen=True)
class Condition:
    """One number that the study of a claim decides.

    Attributes:
        study: whose runs are read.
        points: names of settings; with several, the condition is about how much they differ.
        metric: a column of the study's table, or of
            :func:`pruning_core.studies.records.measures`.
        statistic: "mean" over the seeds; "largest" of the seeds; "spread", the standard deviation
            over the seeds divided by the mean; "range", the largest mean of the points minus the
            smallest, divided by their mean; "ratio", the mean of the first point divided by that of
            the second; "beyond", the mean of the first minus the upper end of the 95 % interval of
            the second's mean; "alike", how many seeds end within 1 of the median of all runs, at
            that point where they are fewest; "front", the mean size divided by that of the smallest
            structured result that is as accurate; "lead", the mean error minus that of the most
            accurate structured result with at most as many weights; or "line", the mean error
            minus that of the line through other points, at the same size. "front" and "lead" look
            at confirmed published results and at our own baselines.
        minus: a study, a point and a metric, whose value at the same seed is subtracted. For
            "line" the beginning of the names of several points, and the metric of the size.
        beside: a study and two points of it; what the first has more than the second of the metric,
            at the same seed, is subtracted as well: how much do two differences differ?
        at_most: the limit from above, or None.
        at_least: the limit from below, or None.
        whole_interval: the 95 % interval has to keep the limit, not only the estimate.
        seeds: how many are needed for a verdict.
        control: it sets up the comparison, and does not count for the verdict.
    """

    study: str
    points: tuple[str, ...]
    metric: str
    statistic: str = "mean"
    minus: tuple[str, str, str] | None = None
    beside: tuple[str, str, str] | None = None
    at_most: float | None = None
    at_least: float | None = None
    whole_interval: bool = False
    seeds: int = 10
    control: bool = False


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


class Words(NamedTuple):
    """What readers call a measurement, its unit, and how many decimals it is shown with."""

    name: str
    unit: str
    digits: int


METRICS = {
    "test_error_percent": Words("test error", "%", 3),
    "train_error_percent": Words("training error", "%", 3),
    "weights_percent": Words("weights left", "%", 2),
    "weights_kept": Words("weights left", "", 0),
    "zeros_percent": Words("zeros", "%", 2),
    "macs": Words("multiply-accumulates", "", 0),
    "macs_percent": Words("multiply-accumulates for an image", "%", 1),
    "training_macs_percent": Words("multiply-accumulates of training", "%", 1),
    "departure_percent": Words("mean departure in the training", "%", 1),
    "undecided_percent": Words("units undecided", "%", 2),
    "sections_left": Words("number of sections", "", 1),
    "seconds": Words("training time", "s", 0),
    "sampling_gap": Words("change of the error when gates are drawn", "points", 3),
    "returned_10_percent": Words("units that open again within ten epochs", "%", 2),
    "returned_percent": Words("units that open again at some time", "%", 2),
    "open_again_percent": Words("units that are open in the end", "%", 2),
    "relative_error": Words("relative error", "", 3),
    "selected_irrelevant": Words("features selected in vain", "", 1),
}
"""Of each column that a claim may read; those of a curve of errors are made by :func:`worded`.

:meta hide-value:
"""


def worded(metric: str) -> Words:
    """What readers call a column of a study's table."""
    zeros = metric.removeprefix("error_at_")
    if zeros != metric:
        return Words(f"test error at {zeros} % zeros", "%", 3)
    return METRICS.get(metric, Words(metric, "", 3))


def told(finding: Finding, archive: Archive) -> dict[str, Any]:
    """A finding as numbers and text, ``said``, ``number`` and ``found`` among it, for programs."""
    condition = finding.condition
    measured, met = _measured(finding), finding.met
    found = f"{finding.n} of {condition.seeds} seeds"
    if met is not None:
        found = f"{measured}, {finding.n} seeds: {'met' if met else 'not met'}"
    if finding.clear is False:
        found += ", with an interval that reaches across the limit"
    numbers = {key: getattr(finding, key) for key in ("estimate", "low", "high")}
    return {
        **asdict(condition),
        "said": f"{_subject(condition, archive)}, {_limit(condition)}",
        "number": f"{measured} {_limit_in_short(condition)}" if measured else "",
        "found": found,
        **{key: float(value) if np.isfinite(value) else None for key, value in numbers.items()},
        "n": finding.n,
        "met": met,
        "clear": finding.clear,
        "studies": list(
            dict.fromkeys(
                [condition.study, *(condition.minus or [])[:1], *(condition.beside or [])[:1]]
            )
        ),
        "command": command(condition.study),
    }


def command(study: str) -> str:
    """What runs whatever is missing of a study."""
    if study in ALONE:
        return f"python -m pruning_core.studies.{ALONE[study]}"
    return f"pruning-core study run {study}"


def curve(condition: Condition, archive: Archive) -> list[str]:
    """The points that a condition with the statistic "line" compares with.

    Raises:
        StudyError: if there are none.
    """
    assert condition.minus is not None
    study, start, _ = condition.minus
    found = [point for point in archive.study(study).points if point.startswith(start)]
    if not found:
        raise StudyError(f"{study} has no point whose name begins with {start!r}")
    return found


def _subject(condition: Condition, archive: Archive) -> str:
    """What is measured, and of which network."""
    name = worded(condition.metric).name
    points = " / ".join(_label(condition.study, point, archive) for point in condition.points)
    subject = {
        "mean": f"{name}, {points}",
        "largest": f"largest {name} of any seed, {points}",
        "spread": f"spread of the {name} over the seeds, {points}",
        "range": f"range of the {name}: {points}",
        "ratio": f"{name}, {' beside '.join(points.split(' / '))}",
        "beyond": f"{name}, {' above the interval of '.join(points.split(' / '))}",
        "alike": f"seeds whose {name} is within 1 of the common one, the fewest of: {points}",
        "front": f"{name} beside the smallest result as accurate, {points}",
        "lead": f"{name} minus that of the best result no larger, {points}",
        "line": f"{name}, {points}",
    }[condition.statistic]
    if condition.minus is None:
        return subject
    study, point, metric = condition.minus
    if condition.statistic == "line":
        others = curve(condition, archive)
        first, last = (_label(study, others[end], archive) for end in (0, -1))
        return f"{subject}, minus that of the line from {first} to {last} at the same size"
    other = _label(study, point, archive)
    if metric != condition.metric:
        other = f"the {worded(metric).name} of {other}"
    subject = f"{subject}, minus {other}"
    if condition.beside is None:
        return subject
    study, first, second = condition.beside
    first, second = (_label(study, point, archive) for point in (first, second))
    return f"{subject}, beyond the same difference of {first} and {second}"


def _label(study: str, point: str, archive: Archive) -> str:
    return point if study in ALONE else archive.study(study).labels[point]


def _limit(condition: Condition) -> str:
    """The limit in words, in the unit of the measurement."""
    words, limit = ("at most", condition.at_most)
    if limit is None:
        words, limit = ("at least", condition.at_least)
    assert limit is not None, "a condition has one of the two"
    scale, unit, _ = _shown(condition)
    text = " ".join(filter(None, [f"{words} {_plain(scale * limit)}", unit]))
    return f"{text}, with its interval" if condition.whole_interval else text


def _limit_in_short(condition: Condition) -> str:
    at_most = condition.at_most
    limit = condition.at_least if at_most is None else at_most
    assert limit is not None, "a condition has one of the two"
    return f"{'≥' if at_most is None else '≤'} {_plain(_shown(condition)[0] * limit)}"


def _measured(finding: Finding) -> str:
    """The estimate, its interval and its unit; nothing where seeds are missing."""
    if finding.met is None:
        return ""
    scale, unit, digits = _shown(finding.condition)
    if abs(scale * finding.estimate) >= 10:
        digits = min(digits, 2)
    text = _rounded(scale * finding.estimate, digits)
    if not np.isnan(finding.low):
        ends = (_rounded(scale * end, digits) for end in (finding.low, finding.high))
        text += f" [{', '.join(ends)}]"
    return " ".join(filter(None, [text, unit]))


def _shown(condition: Condition) -> tuple[float, str, int]:
    """A factor, the unit and the decimals that numbers of a condition are shown with."""
    _, unit, digits = worded(condition.metric)
    if condition.statistic in ("spread", "range"):
        return 100.0, "%", 1
    if condition.statistic in ("front", "ratio"):
        return 1.0, "×", 2
    if condition.statistic == "alike":
        return 1.0, "seeds", 0
    if condition.minus is not None or condition.statistic in ("lead", "beyond"):
        return 1.0, "points" if unit == "%" else unit, digits
    return 1.0, unit, digits


def _rounded(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−").replace("inf", "∞")


def _plain(value: float) -> str:
    return f"{value:g}".replace("-", "−")
