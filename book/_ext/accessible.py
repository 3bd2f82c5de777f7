"""Sphinx extension: docutils calls the bibliography a list, but none of its entries a list item."""

from typing import Any

from sphinx.application import Sphinx


def plain_bibliography(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Take the role from the bibliography, whose entries have roles of their own."""
    if "body" in context:
        listed = 'role="list" class="citation-list"'
        context["body"] = context["body"].replace(listed, 'class="citation-list"')


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for every page."""
    app.connect("html-page-context", plain_bibliography)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
