"""The ledger on the command line: the two abstracts first, in 80 columns."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pruning_core.studies.claims import SOURCES
from pruning_core.studies.conditions import command
from pruning_core.studies.ledger import counts

WIDTH = 80

SIGNS = {"holds": "✓", "fails": "✗", "open": "?"}
"""Beside the word and its colour, for whoever sees no colours."""

_COLOURS = {"holds": "32", "fails": "31", "open": "33", "head": "1"}

_LEGEND = (
    "estimate [95 % interval] and limit; * the interval reaches across it; before, after: "
    "whether the claim was declared before its runs"
)


def as_text(
    claims: Sequence[Mapping[str, Any]],
    abstracts: Sequence[Mapping[str, Any]] = (),
    *,
    verbose: bool = False,
) -> str:
    """Claims as ``decided`` gives them, for people.

    Args:
        claims: of any sources.
        abstracts: of :func:`pruning_core.studies.ledger.abstracts`, which come first.
        verbose: every condition of each claim, its note, and the commands that run its studies.
    """
    lines = _wrapped(_LEGEND)
    by_name = {claim["name"]: claim for claim in claims}
    for abstract in abstracts:
        lines += ["", _head(f"{abstract['method']}: {abstract['paper']}")]
        for sentence in abstract["sentences"]:
            lines.append(f"  {sentence['says']}")
            for name in sentence.get("claims", ()):
                lines += claim_lines(by_name[name], verbose)
            if "derived" in sentence:
                lines.append(f"    · no run decides this: book/{sentence['derived']}.ipynb")
            lines += _wrapped(sentence.get("note", ""), "      ")
        lines += _wrapped(f"Not tested: {'; '.join(abstract['not_tested'])}.", "  ")
    told = {name for a in abstracts for s in a["sentences"] for name in s.get("claims", ())}
    for source, title in SOURCES.items():
        rest = [c for c in claims if c["source"] == source and c["name"] not in told]
        if rest:
            lines += ["", _head(title)]
            lines += [line for claim in rest for line in claim_lines(claim, verbose)]
    if abstracts:
        lines += ["", *_table(counts(claims))]
    return "\n".join([*lines, last_line(claims)])


def claim_lines(claim: Mapping[str, Any], verbose: bool) -> list[str]:
    """A line of a claim; or all there is to say of it."""
    headline = claim["headline"]
    number = headline["number"] or headline["found"]
    across = "*" if headline["clear"] is False else " "
    when = claim["declared"].removesuffix(" its runs")
    start = f"    {_verdict(claim['verdict'])} {when:6} {claim['short']} "
    room = WIDTH - len(f"    ✓ holds before {claim['short']} ")
    lines = [f"{start}{number + across:>{room}}".rstrip()]
    if not verbose:
        return lines
    lines += _wrapped(claim["text"].removesuffix(".") + ".", " " * 6)
    for name in ("published", "note"):
        if claim[name]:
            lines += _wrapped(f"{name}: {claim[name]}", " " * 6)
    for condition in claim["conditions"]:
        control = "control, does not count: " if condition["control"] else ""
        lines += _wrapped(f"- {control}{condition['said']}: {condition['found']}", " " * 6)
    studies = dict.fromkeys(s for c in claim["conditions"] for s in c["studies"])
    return [*lines, *(f"      {command(study)}" for study in studies)]


def last_line(claims: Sequence[Mapping[str, Any]]) -> str:
    """How many claims hold, with their whole interval or not, fail and are open."""
    number = counts(claims).sum()
    hold, whole = number["holds"], number["whole interval"]
    return (
        f"{len(claims)} claims: {hold} hold, {whole} of them with their whole interval; "
        f"{number['fails']} fail, {number['open']} open"
    )


def _table(counted: pd.DataFrame) -> list[str]:
    heads = ["claims", "hold", "fail", "open", "whole interval", "before"]
    lines = [f"{'':28}" + "".join(f"{head:>{len(head) + 2}}" for head in heads)]
    for title, row in counted.iterrows():
        cells = (f"{n:>{len(head) + 2}}" for n, head in zip(row, heads, strict=True))
        lines.append(f"{title!s:28}{''.join(cells)}")
    return lines


def _verdict(verdict: str) -> str:
    return _coloured(f"{SIGNS[verdict]} {verdict:5}", verdict)


def _head(text: str) -> str:
    return _coloured(text, "head")


def _coloured(text: str, kind: str) -> str:
    """As the terminal shows it; plain where there is none, or NO_COLOR is set."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not sys.stdout.isatty():
        return text
    return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
