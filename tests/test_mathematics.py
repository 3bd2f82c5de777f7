"""Tests of how a formula fits a narrow page, in a real Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from scratch_book import ScratchBook

LONG = r"f(x) = a_1 x + a_2 x^2 + a_3 x^3 + a_4 x^4 + a_5 x^5 + a_6 x^6 + a_7 x^7 + a_8 x^8"

PAGE = rf"""# A page

$$
{LONG}
$$ (eq-long)

$$
a = b
$$ (eq-short)

In a line, ${LONG}$, and a bracket ($x$).

$$
\left( {"x + " * 30} x \right)
$$
"""

MATHJAX = """
from importlib.resources import files
html_static_path += [str(files("sphinx-mathjax-offline") / "static/mathjax/tex-svg-full.js")]
mathjax_path = "tex-svg-full.js"
html_js_files = ["mathematics.js"]
html_css_files = ["book.css"]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ScratchBook:
    folder = tmp_path_factory.mktemp("book")
    return ScratchBook(folder, [], {"page": PAGE}, more=MATHJAX)


@pytest.fixture
def page(built: ScratchBook, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(built.address("page"))
    page.wait_for_function("!document.documentElement.classList.contains('sets-mathematics')")
    yield page
    context.close()


def lines(page: Page, tex: str, room: float) -> list[str]:
    """Those that the page's script breaks TeX into, if a character is 1 wide, an indent 0."""
    script = """([tex, room]) =>
        mathematics.linesOf(tex, room, (line) => line.replace("\\\\quad {}", "").length)"""
    return [" ".join(line.split()) for line in page.evaluate(script, [tex, room])]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("tex", "room", "expected"),
    [
        ("a = b", 80, ["a = b"]),
        ("a = bbbbb + c", 11, ["a", "= bbbbb + c"]),
        ("p = qqqqqqqq, \\quad 0 < x < 1", 23, ["p = qqqqqqqq,", "0 < x < 1"]),
        ("x \\le -yyyyyyyyy + (c - d)", 24, ["x", "\\le -yyyyyyyyy + (c - d)"]),
        ("\\frac{a + b}{c = d} = e", 12, ["\\frac{a + b}{c = d}", "= e"]),
        ("\\left( a + b + c \\right)", 9, ["\\left( a + b + c \\right)"]),
        ("f [ a + b + c ]", 22, ["f [ a + b + c ]"]),
        ("\\sum_{k = 1}^{n} k", 9, ["\\sum_{k = 1}^{n} k"]),
        ("x^-yyyyyyyy", 9, ["x^-yyyyyyyy"]),
    ],
)
def test_lines_are_broken_before_what_joins_them(
    page: Page, tex: str, room: float, expected: list[str]
) -> None:
    assert lines(page, tex, room) == expected


@pytest.mark.browser
def test_nothing_is_lost(page: Page) -> None:
    for room in (10, 20, 40, 80):
        assert "".join(lines(page, LONG, room)).replace(" ", "") == LONG.replace(" ", "")


@pytest.mark.browser
def test_rows_of_the_author_become_lines(page: Page) -> None:
    rows = r"a &= \begin{cases} b \\ c \end{cases} \\[2pt] d &= e"
    tex = rf"\begin{{split}}\begin{{aligned}} {rows} \end{{aligned}}\end{{split}}"
    found = page.evaluate("(tex) => mathematics.rowsOf(tex)", tex)
    assert [" ".join(row.split()) for row in found] == [
        r"a = \begin{cases} b \\ c \end{cases}",
        "d = e",
    ]


FITS = """() => [...document.querySelectorAll('article div.math')].map((column) => ({
  over: column.scrollWidth - column.clientWidth,
  height: column.querySelector('svg').getBoundingClientRect().height,
  size: column.querySelector('svg').getBoundingClientRect().width
        / parseFloat(column.querySelector('svg').getAttribute('width')),
  below: column.querySelector('.eqno')?.getBoundingClientRect().top
         >= column.querySelector('svg').getBoundingClientRect().bottom,
}))"""


@pytest.mark.browser
def test_a_long_equation_stands_in_lines_with_its_number_below(page: Page) -> None:
    long, short, bracket = page.evaluate(FITS)
    assert (long["over"], long["below"]) == (0, True)
    assert long["size"] == pytest.approx(short["size"], rel=0.01)
    assert long["height"] > 2 * short["height"]
    assert bracket["size"] == pytest.approx(0.75 * short["size"], rel=0.01)


@pytest.mark.browser
def test_with_room_it_is_one_line_again(page: Page) -> None:
    height = "document.querySelector('article div.math svg').getBoundingClientRect().height"
    narrow = page.evaluate(height)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.wait_for_function(f"{height} < {narrow} / 2")
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function(f"{height} === {narrow}")


@pytest.mark.browser
def test_a_formula_in_a_line_is_broken_and_keeps_its_punctuation(page: Page) -> None:
    ends = """all => all.map((one) => {
        const [inner, outer] = [one, one.closest("p")].map((box) => box.getBoundingClientRect());
        return inner.right - outer.right;
    })"""
    assert max(page.locator("article p mjx-container").evaluate_all(ends)) <= 0
    together = page.locator("article p .unbroken").all()
    comma, last = together[0].evaluate(
        """span => {
            const comma = document.createRange();
            comma.selectNode(span.lastChild);
            return [comma, span.querySelector("mjx-container:last-of-type")]
                .map((thing) => thing.getBoundingClientRect());
        }"""
    )
    assert last["top"] <= comma["top"] < comma["bottom"] <= last["bottom"] + 10
    assert comma["left"] >= last["right"] - 1
    assert (
        together[-1].evaluate("span => [...span.childNodes].map((n) => n.data ?? 'x').join('')")
        == "(x)."
    )


OVER = """() => [...document.querySelectorAll('article div.math')].map((column) => {
  const boxes = [column, column.querySelector("svg")].map((one) => one.getBoundingClientRect());
  const [around, drawn] = boxes;
  return [Math.max(around.left - drawn.left, drawn.right - around.right), column.textContent];
})"""


@pytest.mark.browser
def test_no_equation_of_the_book_runs_out_of_a_phone(browser: Browser, book_html: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    found = 0
    for path in sorted((book_html / "book").glob("*.html")):
        text = path.read_text(encoding="utf-8")
        if '<div class="math' not in text:
            continue
        page.goto(path.as_uri())
        page.wait_for_function("!document.documentElement.classList.contains('sets-mathematics')")
        over = page.evaluate(OVER)
        found += len(over)
        assert [equation for equation in over if equation[0] > 1] == [], path.name
    context.close()
    assert found > 100
