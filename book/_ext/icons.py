"""Sphinx extension: the theme's icons, once.

It ships them as a font and again as a script of half a megabyte, compressed, that draws them over.
"""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def empty_script(app: Sphinx, error: Exception | None) -> None:
    """Leave the icons to the font; every page asks for the script by name."""
    script = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if script.exists():
        script.write_text("", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register for the end of the build."""
    app.connect("build-finished", empty_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
