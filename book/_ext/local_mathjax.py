"""Sphinx extension: ship MathJax with the book, as one file of the wheel `sphinx-mathjax-offline`.

The wheel's own extension copies all 24 MB of MathJax and insists on a bundle that fetches parts
of itself later.
"""

from importlib.resources import files
from typing import Any

from sphinx.application import Sphinx

# Not `tex-svg.js`: that one goes looking for \boldsymbol on first use, and blanks all mathematics.
BUNDLE = "tex-svg-full.js"


def spare_the_first_page(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Take MathJax from a page of HTML that has no mathematics of its own.

    Sphinx gives it to the first page for the sake of those that are below it in the table of
    contents, where it would be most of what a reader waits for.
    """
    first = page == app.config.root_doc and app.builder.name == "html"
    if first and 'class="math' not in context["body"]:
        scripts = context["script_files"]
        scripts[:] = [script for script in scripts if BUNDLE not in str(script.filename)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Put the bundle among the static files and point Sphinx to it."""
    bundle = files("sphinx-mathjax-offline") / "static" / "mathjax" / BUNDLE
    app.config.html_static_path.append(str(bundle))
    app.config.mathjax_path = BUNDLE
    app.connect("html-page-context", spare_the_first_page, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
