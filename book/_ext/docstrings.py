"""Sphinx extension: the package's docstrings, written for people, as reStructuredText.

In them |w| is an absolute value, not a substitution, and :class:`Halo` is found wherever it lives.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

LITERAL = re.compile(r"(``.*?``)")


def escape_bars(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Escape | outside of literals and of indented code."""
    code = False
    for index, line in enumerate(lines):
        if code and line and not line.startswith(" "):
            code = False
        if not code:
            parts = LITERAL.split(line)
            parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
            lines[index] = "".join(parts)
        code = code or line.rstrip().endswith("::")


def find_by_last_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Resolve a name without its module, or with the package's, if just one object has it."""
    if node.get("refdomain") != "py":
        return None
    last = "." + node["reftarget"].removeprefix("pruning_core.")
    kind = {"func": "function", "meth": "method"}.get(node["reftype"])
    places = {
        (page, anchor)
        for name, _, found, page, anchor, _ in env.get_domain("py").get_objects()
        if name.endswith(last) and kind in (None, found)
    }
    if len(places) != 1:
        return None
    page, anchor = places.pop()
    return make_refnode(app.builder, node.get("refdoc", ""), page, anchor, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect both."""
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("missing-reference", find_by_last_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
