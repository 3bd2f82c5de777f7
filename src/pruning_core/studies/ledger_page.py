"""The ledger as a page: HTML that needs no style to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pruning_core.studies.claims import SOURCES
from pruning_core.studies.conditions import command
from pruning_core.studies.ledger import VERDICTS
from pruning_core.studies.ledger_text import SIGNS
from pruning_core.studies.typography import tied

Claims = Sequence[Mapping[str, Any]]
"""As :func:`pruning_core.studies.ledger.decided` gives them."""

_ORIGINS = {
    "abstract": "the paper's abstract; the numbers are ours",
    "successor": "the abstract of a paper that follows; the numbers are ours",
    "target": "a target of this project",
    "baseline": "a check that a baseline is no straw man",
    "question": "a question of ours",
}

_PLURAL = {"holds": "hold", "fails": "fail", "open": "open"}


def named(claims: Claims, *names: str) -> list[Mapping[str, Any]]:
    """Claims by their names.

    Raises:
        ValueError: if there is no such claim.
    """
    known = {claim["name"]: claim for claim in claims}
    if unknown := set(names) - set(known):
        raise ValueError(f"no claims {sorted(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def first_screen(abstracts: Sequence[Mapping[str, Any]], claims: Claims) -> str:
    """The abstracts, sentence by sentence: a table for each, and what was not tested.

    Args:
        abstracts: of :func:`pruning_core.studies.ledger.abstracts`.
        claims: those that the abstracts name, and perhaps others.
    """
    return "".join(_abstract(abstract, claims) for abstract in abstracts)


def folded(claims: Claims) -> str:
    """All claims, a group for each source that opens at a click."""
    groups = []
    for source, title in SOURCES.items():
        of_source = [claim for claim in claims if claim["source"] == source]
        verdicts = [claim["verdict"] for claim in of_source]
        told = ", ".join(f"{verdicts.count(v)} {_PLURAL[v]}" for v in VERDICTS if v in verdicts)
        groups.append(
            f'<details class="ledger-group"><summary>{escape(title)}: {told}</summary>\n'
            f"{as_html(of_source)}</details>\n"
        )
    return "".join(groups)


def as_html(claims: Claims) -> str:
    """A list with an item for each claim: verdict, text, source, what was found, and commands."""
    return f'<ol class="ledger" role="list">\n{"".join(map(item, claims))}</ol>'


def item(claim: Mapping[str, Any]) -> str:
    """One claim of :func:`as_html`."""
    conditions = claim["conditions"]
    found = "".join(f"<li>{_condition(condition)}</li>" for condition in conditions)
    studies = dict.fromkeys(study for condition in conditions for study in condition["studies"])
    commands = [f"<code>{escape(command(study))}</code>" for study in studies]
    rows = [
        ("Source", f"{_ORIGINS[claim['source']]}; declared {escape(claim['declared'])}"),
        ("Published", _text(claim["published"])),
        ("Ours", f"<ul>{found}</ul>"),
        ("Note", _text(claim["note"])),
        ("Run again", "<br>".join(commands)),
    ]
    described = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows if text)
    return (
        f'<li id="claim-{claim["name"]}"><p>{_verdict(claim["verdict"])} '
        f"{_text(claim['text'].removesuffix('.'))}.</p><dl>{described}</dl></li>\n"
    )


def section(path: Path, heading: str) -> str:
    """What stands in a Markdown file under a heading, up to the next of the same level.

    Raises:
        ValueError: if there is no such heading.
    """
    _, found, rest = path.read_text(encoding="utf-8").partition(f"\n{heading}\n")
    if not found:
        raise ValueError(f"{path} has no heading {heading!r}")
    level = heading.split(" ")[0]
    return rest.split(f"\n{level} ")[0].strip()


def _abstract(abstract: Mapping[str, Any], claims: Claims) -> str:
    rows = "".join(_sentence(sentence, claims) for sentence in abstract["sentences"])
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("Tested by", "Found", "Verdict", "Declared")
    )
    title = escape(f"{abstract['method']}: {abstract['paper']}")
    return (
        f'<table class="ledger-abstract"><caption>{title}</caption>'
        f"<thead><tr>{heads}</tr></thead>\n{rows}</table>\n"
        f"<p><strong>Not tested:</strong> {_text('; '.join(abstract['not_tested']))}.</p>\n"
    )


def _sentence(sentence: Mapping[str, Any], claims: Claims) -> str:
    rows = [
        f'<tr><td><a href="#claim-{claim["name"]}">{_text(claim["short"])}</a></td>'
        f"<td>{_headline(claim['headline'])}</td><td>{_verdict(claim['verdict'])}</td>"
        f"<td>{escape(claim['declared'].removesuffix(' its runs'))}</td></tr>\n"
        for claim in named(claims, *sentence.get("claims", ()))
    ]
    if "derived" in sentence:
        chapter = sentence["derived"]
        note = f"; {_text(sentence['note'])}" if "note" in sentence else ""
        link = f'<a href="{chapter}.html">{escape(chapter.replace("-", " "))}</a>'
        rows.append(f'<tr><td colspan="4">no run decides this: {link}{note}</td></tr>\n')
    says = f'<tr><th colspan="4" scope="rowgroup">{_text(sentence["says"])}</th></tr>\n'
    return f"<tbody>{says}{''.join(rows)}</tbody>"


def _headline(condition: Mapping[str, Any]) -> str:
    """The number of a claim, marked where its interval reaches across the limit."""
    text = _text(condition["number"] or condition["found"])
    if condition["clear"] is False:
        return f'{text}<abbr title="the interval reaches across the limit">*</abbr>'
    return text


def _condition(condition: Mapping[str, Any]) -> str:
    control = "Control, does not count: " if condition["control"] else ""
    return f"{control}{_text(condition['said'])}: <b>{_text(condition['found'])}</b>"


def _verdict(verdict: str) -> str:
    sign = f'<span aria-hidden="true">{SIGNS[verdict]}</span>'
    return f'<strong class="verdict {verdict}">{sign} {verdict}</strong>'


def _text(text: str) -> str:
    """With numbers and what follows them kept on one line."""
    return tied(escape(text, quote=False))
