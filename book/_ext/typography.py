"""Sphinx extension: a number and its unit stay on one line, in the text as in what is generated."""

from typing import Any

from docutils import nodes
from pruning_core.studies.typography import tied
from sphinx.application import Sphinx

AS_THEY_ARE = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw)


def tie(app: Sphinx, doctree: nodes.document) -> None:
    """Put no-break spaces into the text of a page."""
    for text in list(doctree.findall(nodes.Text)):
        kept = tied(text)
        if kept != text and not isinstance(text.parent, AS_THEY_ARE):
            text.parent.replace(text, nodes.Text(kept))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for every page that has been read."""
    app.connect("doctree-read", tie)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
