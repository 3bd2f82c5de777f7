"""Sphinx extension: where a chapter first uses a word of the glossary, the word leads there."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

GLOSSARY = Path(__file__).parents[1] / "glossary.md"
PAGES = "book/"
NO_CHAPTERS = ("index", "glossary", "notation", "api", "checks", "references")
ELSEWHERE = (nodes.reference, nodes.literal, nodes.title, nodes.caption, pending_xref)
"""Inside these, a word stays as it is."""


@cache
def terms() -> dict[str, str]:
    """The words of the glossary, by themselves in lower case."""
    text = GLOSSARY.read_text(encoding="utf-8")
    (listed,) = re.findall(r"^```\{glossary\}\n(.*?)^```", text, flags=re.M | re.S)
    return {term.lower(): term for term in re.findall(r"^(\S.*)$", listed, flags=re.M)}


@cache
def pattern() -> re.Pattern[str]:
    """Any of them, the longest first, or its plural."""
    words = sorted(terms(), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, words))})(s?)(?![\w-])", re.I)


def link_terms(app: Sphinx, doctree: nodes.document) -> None:
    """Turn the first use of each term on a page into a link."""
    page = app.env.docname
    if page.removeprefix(PAGES) in NO_CHAPTERS:
        return
    app.env.note_dependency(str(GLOSSARY))
    used: set[str] = set()
    for paragraph in doctree.findall(nodes.paragraph):
        for text in list(paragraph.findall(nodes.Text)):
            if not _is_inside(text, ELSEWHERE):
                _link(text, used)


def _link(text: nodes.Text, used: set[str]) -> None:
    parts: list[nodes.Node] = []
    place = 0
    for found in pattern().finditer(text):
        term = terms()[found[1].lower()]
        if term in used:
            continue
        used.add(term)
        shown = nodes.inline(found[0], found[0], classes=["term"])
        link = pending_xref(
            "", shown, refdomain="std", reftype="term", reftarget=term, refexplicit=True
        )
        parts += [nodes.Text(text[place : found.start()]), link]
        place = found.end()
    if parts:
        text.parent.replace(text, [*parts, nodes.Text(text[place:])])


def _is_inside(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for every page that has been read."""
    app.connect("doctree-read", link_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
