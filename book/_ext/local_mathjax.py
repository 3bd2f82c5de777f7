"""Sphinx extension: ship MathJax with the book, as one file of the wheel `sphinx-mathjax-offline`.

The wheel's own extension copies all 24 MB of MathJax and insists on a bundle that fetches parts
of itself later.
"""

from importlib.resources import files
from typing import Any

from sphinx.application import Sphinx

# Not `tex-svg.js`: that one goes looking for \boldsymbol on first use, and blanks all mathematics.
BUNDLE = "tex-svg-full.js"


def setup(app: Sphinx) -> dict[str, Any]:
    """Put the bundle among the static files and point Sphinx to it."""
    bundle = files("sphinx-mathjax-offline") / "static" / "mathjax" / BUNDLE
    app.config.html_static_path.append(str(bundle))
    app.config.mathjax_path = BUNDLE
    return {"parallel_read_safe": True, "parallel_write_safe": True}
