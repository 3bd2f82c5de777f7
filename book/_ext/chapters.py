"""Sphinx extension: ``{chapter-minutes}`` is a table of the chapters and their minutes.

The chapters are those of ``_toc.yml``, in its order; the minutes are what each says of itself, so
that nobody has to keep a second list.
"""

import re
from pathlib import Path
from typing import Any

import nbformat
import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
MINUTES = re.compile(r"Reading takes about (\d+) minutes; running every cell takes ([^.]+)\.")


class ChapterMinutes(SphinxDirective):
    """A row for each notebook: title, minutes to read, time to run."""

    def run(self) -> list[nodes.Node]:
        rows = ["| Chapter | Minutes to read | To run every cell |", "|---|---|---|"]
        for file in _files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))):
            path = ROOT / f"{file}.ipynb"
            if path.exists():
                self.env.note_dependency(str(path))
                cells = nbformat.read(path, as_version=4).cells
                found = MINUTES.search(" ".join(" ".join(cell.source for cell in cells).split()))
                if found is None:
                    raise self.error(f"{file} does not say how many minutes it takes")
                # The sentence has just said minutes; the table has not.
                running = re.sub(r"under (one|two)\b", _with_unit, found[2])
                rows.append(f"| [](/{file}) | {found[1]} | {running} |")
        container = nodes.container()
        self.state.nested_parse(StringList(rows, source=""), self.content_offset, container)
        return container.children


def _with_unit(number: re.Match[str]) -> str:
    return {"one": "under a minute", "two": "under two minutes"}[number[1]]


def _files(entry: dict[str, Any]) -> list[str]:
    own = [entry[key] for key in ("root", "file") if key in entry]
    below = [part for key in ("parts", "chapters", "sections") for part in entry.get(key, [])]
    return own + [file for part in below for file in _files(part)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("chapter-minutes", ChapterMinutes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
