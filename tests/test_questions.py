"""Tests of the questions at the end of a chapter: in Sphinx, and in a real Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page
from scratch_book import ScratchBook

QUESTION = """\
# A chapter

## Check yourself

```{question} What is $1 + 1$?
- [ ] One.

  That is *one* of them.
- [x] Two.

  Count them: $1 + 1 = 2$.
```

```{question} Is that all?
- [x] Yes.

  It is.
- [ ] No.

  But it is.
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ScratchBook:
    return ScratchBook(tmp_path_factory.mktemp("book"), ["questions"], {"chapter": QUESTION})


def test_choices_are_a_list_and_each_has_its_answer_with_the_mark_taken_off(
    built: ScratchBook,
) -> None:
    page = BeautifulSoup(built.page("chapter"), "html.parser")
    first, second = page.select(".question")
    assert [first["id"], second["id"]] == ["question-1", "question-2"]
    assert [item.get_text(strip=True) for item in first.select("li")] == ["One.", "Two."]
    assert [item.get("class") for item in first.select("li")] == [None, ["right"]]
    answers = [" ".join(answer.get_text().split()) for answer in first.select(".answer")]
    assert answers == [
        "a. No. That is one of them.",
        r"b. Right. Count them: \(1 + 1 = 2\).",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "Nothing to choose from.",
        "- [ ] One.\n\n  No.\n- [ ] Two.\n\n  No.",
        "- [x] One.\n\n  Yes.\n- [x] Two.\n\n  Yes.",
        "- [x] One.\n\n  Yes.",
        "- [x] One.\n\n  Yes.\n- Two.\n\n  No.",
        "- [x] One.\n- [ ] Two.\n\n  No.",
    ],
    ids=["no list", "none right", "two right", "one choice", "no mark", "no reason"],
)
def test_a_question_that_is_not_one_stops_the_build(body: str, tmp_path: Path) -> None:
    text = f"# A chapter\n\n```{{question}} Which?\n{body}\n```\n"
    with pytest.raises(RuntimeError, match="two to four choices"):
        ScratchBook(tmp_path, ["questions"], {"chapter": text})


@pytest.fixture
def page(built: ScratchBook, browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(built.address("chapter"))
    yield page
    context.close()


@pytest.mark.browser
def test_a_choice_shows_why_and_a_right_one_is_remembered(page: Page) -> None:
    question = page.locator(".question").first
    assert question.locator(".answer:visible").count() == 0
    question.get_by_label("One.").check()
    assert question.locator(".answer:visible").inner_text() == "No. That is one of them."
    assert page.evaluate("localStorage.getItem('questions-answered')") is None
    question.get_by_label("Two.").check()
    assert question.locator(".answer:visible").inner_text().startswith("Right. Count them")
    kept = json.loads(page.evaluate("localStorage.getItem('questions-answered')"))
    assert kept == {"chapter": {"of": 2, "right": ["question-1"]}}
    page.reload()
    assert question.get_by_label("Two.").is_checked()
    assert page.locator(".question").nth(1).locator(".answer:visible").count() == 0


@pytest.mark.browser
def test_answers_can_be_forgotten(page: Page) -> None:
    page.locator(".question").first.get_by_label("Two.").check()
    page.get_by_role("button", name="Forget my answers").click()
    assert page.evaluate("localStorage.getItem('questions-answered')") == "{}"
    assert page.locator(".answer:visible").count() == 0


@pytest.mark.browser
def test_it_is_answered_by_keyboard(page: Page) -> None:
    page.locator(".question input").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".question").first.locator(".answer:visible").count() == 1


@pytest.mark.browser
def test_on_paper_the_answers_stand_below(page: Page) -> None:
    page.emulate_media(media="print")
    assert page.locator(".answer:visible").count() == 4
    assert page.locator(".question input:visible, .ask-again:visible").count() == 0


@pytest.mark.browser
def test_the_sidebar_shows_what_has_been_answered(page: Page) -> None:
    mark = page.locator(".bd-sidebar-primary .progress-mark")
    assert mark.count() == 0
    page.locator(".question").nth(0).get_by_label("Two.").check()
    assert mark.text_content() == "1/2"
    page.locator(".question").nth(1).get_by_label("Yes.").check()
    assert mark.text_content() == "✓"
    assert mark.get_attribute("aria-label") == "2 of 2 questions answered"
    page.goto(page.url.replace("chapter.html", "index.html"))
    assert mark.text_content() == "✓"
