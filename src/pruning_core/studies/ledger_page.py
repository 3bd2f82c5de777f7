"""The ledger as a page: claims as a list of HTML that needs no style to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any


def about(claims: Sequence[Mapping[str, Any]], *studies: str) -> list[Mapping[str, Any]]:
    """Claims, as ``decided`` gives them, whose first condition reads one of these studies."""
    return [claim for claim in claims if claim["conditions"][0]["studies"][0] in studies]


def named(claims: Sequence[Mapping[str, Any]], *names: str) -> list[Mapping[str, Any]]:
    """Claims, as ``decided`` gives them, by their names.

    Raises:
        ValueError: if there is no such claim.
    """
    known = {claim["name"]: claim for claim in claims}
    if unknown := set(names) - set(known):
        raise ValueError(f"no claims {sorted(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def as_html(claims: Sequence[Mapping[str, Any]]) -> str:
    """A list with an item for each claim: verdict, text, source, what was found, and commands."""
    return f'<ol class="ledger" role="list">\n{"".join(map(item, claims))}</ol>'


def item(claim: Mapping[str, Any]) -> str:
    """One claim of :func:`as_html`."""
    verdict = claim["verdict"]
    conditions = claim["conditions"]
    found = "".join(f"<li>{_condition(condition)}</li>" for condition in conditions)
    studies = dict.fromkeys(study for condition in conditions for study in condition["studies"])
    commands = [f"<code>pruning-core study run {escape(study)}</code>" for study in studies]
    rows = [
        ("Source", f"{escape(claim['source'])}; declared {escape(claim['declared'])}"),
        ("Published", escape(claim["published"])),
        ("Ours", f"<ul>{found}</ul>"),
        ("Run again", "<br>".join(commands)),
    ]
    described = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows if text)
    mark = f'<strong class="verdict {verdict.replace(" ", "-")}">{verdict}</strong>'
    return (
        f'<li id="claim-{claim["name"]}"><p>{mark} {escape(claim["text"])}.</p>'
        f"<dl>{described}</dl></li>\n"
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


def _condition(condition: Mapping[str, Any]) -> str:
    text = f"{escape(condition['said'])}: <b>{escape(condition['found'])}</b>"
    if condition["clear"] is False:
        text += ", with an interval that reaches across the limit"
    return text
