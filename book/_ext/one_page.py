"""Sphinx extension: whatever can be drawn in HTML can be drawn on the one page that is printed.

Sphinx forgets the handlers for "html" where an extension has registered any for "singlehtml".
"""

from typing import Any

from sphinx.application import Sphinx


def share_handlers(app: Sphinx) -> None:
    """Let the builder of the one page fall back to the handlers of all other pages."""
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = {**handlers["html"], **handlers.get("singlehtml", {})}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for the start of the build."""
    app.connect("builder-inited", share_handlers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
