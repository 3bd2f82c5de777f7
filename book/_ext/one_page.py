"""Sphinx extension: whatever can be drawn in HTML can be drawn on the one page that is printed.

It begins with the title of the book. Sphinx forgets the handlers for "html" where an extension has
registered any for "singlehtml".
"""

from typing import Any

from sphinx.application import Sphinx


def share_handlers(app: Sphinx) -> None:
    """Let the builder of the one page fall back to the handlers of all other pages."""
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = {**handlers["html"], **handlers.get("singlehtml", {})}


def name_the_book(app: Sphinx, page: str, source: list[str]) -> None:
    """Let the one page begin with the title of the book, not with that of its first screen."""
    if app.builder.name == "singlehtml" and page == app.config.root_doc:
        source[0] = f"# {app.config.html_title}\n\n#{source[0]}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for the start of the build."""
    app.connect("builder-inited", share_handlers)
    app.connect("source-read", name_the_book)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
