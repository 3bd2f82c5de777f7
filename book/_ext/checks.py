"""Sphinx extension: an equation says which function implements it and which test checks it.

``{checked}`eq-flattening-cost``` links to the test ``test_eq_flattening_cost`` of
``tests/equations``, and the directive ``{checks}`` shows the source of all of them. An equation
that names a test which does not exist is a warning, and so stops the build.
"""

import ast
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

FOLDER = Path(__file__).parents[2] / "tests" / "equations"
PAGE = "book/checks"


def tests() -> dict[str, dict[str, str]]:
    """Source of each test by its name, by file."""
    found = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        functions = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
        lines = text.splitlines()
        found[path.stem] = {
            f.name: "\n".join(lines[_first_line(f) - 1 : f.end_lineno])
            for f in functions
            if f.name.startswith("test_")
        }
    return found


def checked(
    name: str, rawtext: str, text: str, lineno: int, inliner: Inliner, *_: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The role: a link to the test of an equation, theorem or definition."""
    test = "test_" + text.replace("-", "_")
    if not any(test in functions for functions in tests().values()):
        message = inliner.reporter.warning(f"no {test} in tests/equations", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]
    app: Sphinx = inliner.document.settings.env.app
    here = inliner.document.settings.env.docname
    label = nodes.literal(test, test, classes=["checked"])
    return [make_refnode(app.builder, here, PAGE, test.replace("_", "-"), label)], []


class Checks(SphinxDirective):
    """Every test of ``tests/equations``, under a heading for each file."""

    def run(self) -> list[nodes.Node]:
        content: list[nodes.Node] = []
        for file, functions in tests().items():
            self.env.note_dependency(str(FOLDER / f"{file}.py"))
            title = file.removeprefix("test_").replace("_", " ").capitalize()
            section = nodes.section(ids=[file.replace("_", "-")], names=[file])
            section += nodes.title(title, title)
            for name, source in functions.items():
                block = nodes.literal_block(source, source, language="python")
                target = nodes.target(ids=[name.replace("_", "-")])
                section += [target, block]
            content.append(section)
        return content


def _first_line(function: ast.FunctionDef) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role and the directive."""
    app.add_role("checked", checked)
    app.add_directive("checks", Checks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
