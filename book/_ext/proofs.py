"""Sphinx extension: a proof with ``:class: dropdown`` has a title, by which it is opened."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

OPENING = "Proof. "


def add_titles(app: Sphinx, doctree: nodes.document) -> None:
    """Turn the opening word of each such proof into its title."""
    for proof in doctree.findall(nodes.admonition):
        if not {"proof", "dropdown"} <= set(proof["classes"]):
            continue
        opening = next(iter(proof.findall(nodes.Text)))
        if not opening.startswith(OPENING):
            raise ValueError(f"a proof begins with {OPENING!r}, not with {opening[:20]!r}")
        opening.parent.replace(opening, nodes.Text(opening.removeprefix(OPENING)))
        proof["ids"].clear()  # all of them were called proof
        proof.insert(0, nodes.title("", "Proof"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for every page that has been read."""
    app.connect("doctree-read", add_titles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
