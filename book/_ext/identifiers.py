"""Sphinx extension: a long identifier is broken after its dots and underscores, not in a word."""

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL = re.compile(r'(?<=<span class="pre">)[^<]+(?=</span>)')
JOINT = re.compile(r"(?<=[A-Za-z0-9)\]][._/=(])(?=[A-Za-z])")


def allow_breaks(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Mark the places in the literals of a page."""
    if "body" in context:
        context["body"] = LITERAL.sub(lambda found: JOINT.sub("<wbr>", found[0]), context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for every page."""
    app.connect("html-page-context", allow_breaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
