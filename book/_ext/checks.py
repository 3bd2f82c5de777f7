"""Sphinx extension: an equation says which function implements it and which test checks it.

``{checked}`eq-flattening-cost``` links to the test ``test_eq_flattening_cost`` of
``tests/equations``, and the directive ``{checks}`` shows the source of all of them, by chapter. An
equation that names a test which does not exist is a warning, and so stops the build.
"""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

BOOK = Path(__file__).parents[1]
FOLDER = BOOK.parent / "tests" / "equations"
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


def chapters() -> dict[str, Path]:
    """By file of tests, the chapter that refers to most of them; in the order of the book."""
    files = re.findall(r"file: book/(\S+)", (BOOK.parent / "_toc.yml").read_text(encoding="utf-8"))
    pages = [path for file in files if (path := BOOK / f"{file}.ipynb").exists()]
    cited = {page: _cited(page) for page in pages}
    found: dict[str, Path] = {}
    for file, functions in tests().items():
        counts = Counter({page: len(names & set(functions)) for page, names in cited.items()})
        ((page, count),) = counts.most_common(1)
        if not count:
            raise ValueError(f"no chapter refers to a test of tests/equations/{file}.py")
        found[file] = page
    return dict(sorted(found.items(), key=lambda item: pages.index(item[1])))


def title_of(page: Path) -> str:
    """The title of a chapter."""
    first: str = nbformat.read(page, as_version=4).cells[0].source
    return first.splitlines()[0].removeprefix("# ")


class Checks(SphinxDirective):
    """Every test of ``tests/equations``, under the title of its chapter."""

    def run(self) -> list[nodes.Node]:
        content: list[nodes.Node] = []
        every = tests()
        for file, page in chapters().items():
            functions, title = every[file], title_of(page)
            self.env.note_dependency(str(FOLDER / f"{file}.py"))
            self.env.note_dependency(str(page))
            section = nodes.section(ids=[file.replace("_", "-")], names=[file])
            section += nodes.title(title, title)
            for name, source in functions.items():
                block = nodes.literal_block(source, source, language="python")
                target = nodes.target(ids=[name.replace("_", "-")])
                section += [target, block]
            content.append(section)
        return content


def _cited(page: Path) -> set[str]:
    """Names of the tests that a page refers to."""
    labels = re.findall(r"\{checked\}`([^`]+)`", page.read_text(encoding="utf-8"))
    return {"test_" + label.replace("-", "_") for label in labels}


def _first_line(function: ast.FunctionDef) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role and the directive."""
    app.add_role("checked", checked)
    app.add_directive("checks", Checks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
