"""Sphinx extension: ``{question}`` asks, and answers what the reader chooses.

The choices are a list whose items begin with ``[ ]`` or, the right one, ``[x]``; what follows in an
item says why. In the page `questions.js` shows that only for the choice that is made, remembers in
the browser which questions have been answered rightly, and marks the chapters in the sidebar. On
paper the answers stand below the question.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FORM = (
    "a question has two to four choices: a list whose items begin with [ ], or with [x] for the one"
    " that is right, each followed by a paragraph that says why"
)


class Question(SphinxDirective):
    """One question; its argument asks it."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        asked, messages = self.state.inline_text(self.arguments[0], self.lineno)
        parsed = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, parsed)
        items = [item for part in parsed for item in part.children]
        if len(parsed) != 1 or not isinstance(parsed[0], nodes.bullet_list):
            raise self.error(FORM)
        marks = [_taken_mark(item) for item in items]
        if not 2 <= len(items) <= 4 or marks.count("[x]") != 1 or None in marks:
            raise self.error(FORM)
        if any(len(item.children) < 2 for item in items):
            raise self.error(f"a choice does not say why: {FORM}")
        choices = nodes.enumerated_list(enumtype="loweralpha", prefix="", suffix=".")
        answers = nodes.container(classes=["answers"])
        for letter, mark, item in zip("abcd", marks, items, strict=False):
            choice, reason, *more = item.children
            choices += nodes.list_item("", choice, classes=["right"] if mark == "[x]" else [])
            place = nodes.inline("", f"{letter}. ", classes=["letter"])
            told = nodes.Text("Right. " if mark == "[x]" else "No. ")
            why = nodes.paragraph("", "", place, told, *reason.children)
            answers += nodes.container("", why, *more, classes=["answer"])
        number = self.env.new_serialno("question") + 1
        question = nodes.container(
            "",
            nodes.paragraph("", "", *asked, classes=["asked"]),
            choices,
            answers,
            classes=["question"],
            ids=[f"question-{number}"],
        )
        return [question, *messages]


def _taken_mark(item: nodes.Node) -> str | None:
    """The mark that an item begins with, which is taken away; None without one."""
    text = next(iter(item.findall(nodes.Text)), None)
    if text is None or text[:4] not in ("[ ] ", "[x] "):
        return None
    text.parent.replace(text, nodes.Text(text[4:]))
    return text[:3]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and its script for every page: the sidebar is everywhere."""
    app.add_directive("question", Question)
    app.add_css_file("questions.css")
    app.add_js_file("questions.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
