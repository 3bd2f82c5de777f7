"""The explorers in their pages: figures with captions, one price for all, ghosts, predictions."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page
from shown_explorers import DRAWING, PLACES, Shown, open_page

from pruning_core import explorers
from pruning_core.explorers import trained
from pruning_core.explorers.chart import MIME
from pruning_core.studies.archive import Archive
from pruning_core.studies.published import load_published
from pruning_core.studies.tables import runs

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)

pytestmark = pytest.mark.browser


@pytest.fixture
def fresh(browser: Browser, book_html: Path) -> Iterator[Callable[[str], Page]]:
    """A page as a reader opens it, with no question answered."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})

    def opened(name: str) -> Page:
        open_page(page, book_html, name)
        return page

    yield opened
    page.close()


# --- figures ---


@pytest.mark.parametrize("name", ["turn-the-results", "playground"])
def test_every_explorer_is_a_figure_with_a_number_and_a_caption(
    fresh: Callable[[str], Page], name: str
) -> None:
    page = fresh(name)
    captions = page.locator("figure:has(.explorer) figcaption").all_inner_texts()
    assert len(captions) == page.locator(".explorer").count() > 3
    for caption in captions:
        assert re.match(r"Fig\. \d+ \w", caption)
        assert len(caption.split()) > 15
    targets = page.locator("figure:has(.explorer)").evaluate_all("all => all.map(f => f.id)")
    referred = page.locator("p a.reference[href^='#fig-']").evaluate_all(
        "all => all.map(a => a.hash.slice(1))"
    )
    assert set(targets) <= set(referred)


def test_an_epub_has_the_picture_with_its_caption_and_no_script(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()
    data = {MIME: {"params": []}, "image/png": PIXEL, "text/plain": "<Explorer>"}
    output = nbformat.v4.new_output("execute_result", data, execution_count=1)
    options = {"image": {"alt": "a dot"}, "figure": {"caption": "A dot.", "name": "fig-dot"}}
    cell = nbformat.v4.new_code_cell("1", outputs=[output], metadata={"mystnb": options})
    notebook.cells = [nbformat.v4.new_markdown_cell("# A page"), cell]
    nbformat.write(notebook, tmp_path / "index.ipynb")
    extensions = str(ROOT / "book" / "_ext")
    configuration = f"""
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_nb", "explorers"]
nb_execution_mode, numfig, html_theme = "off", True, "basic"
"""
    (tmp_path / "conf.py").write_text(configuration, encoding="utf-8")
    found = {}
    for builder, suffix in (("html", "html"), ("epub", "xhtml")):
        command = [sys.executable, "-m", "sphinx", "-q", "-b", builder, tmp_path]
        subprocess.run([*map(str, command), str(tmp_path / builder)], check=True)
        found[builder] = (tmp_path / builder / f"index.{suffix}").read_text(encoding="utf-8")
    for text in found.values():
        assert re.search(r'<figure[^>]*id="fig-dot"', text)
        assert text.count("<img") == 1
        assert "Fig. 1" in text
    assert '<div class="explorer' in found["html"]
    assert "application/json" in found["html"]
    assert "application/json" not in found["epub"]


PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)


def test_every_explorer_says_what_to_look_at(fresh: Callable[[str], Page]) -> None:
    for name in ("turn-the-results", "playground"):
        for look in fresh(name).locator(".explorer .look").all_inner_texts():
            assert len(look.split()) > 10


def test_text_is_large_enough_on_a_phone(browser: Browser, book_html: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for name in ("turn-the-results", "playground"):
        open_page(page, book_html, name)
        sizes = page.locator(f".explorer {DRAWING} text").evaluate_all(FONT_SIZES)
        assert len(sizes) > 50
        assert min(sizes) >= 10.9
    page.close()


# As seen: a drawing that is too wide for its page is made smaller.
FONT_SIZES = """texts => texts.filter(text => text.textContent).map(text => {
    const svg = text.ownerSVGElement;
    const scale = svg.getBoundingClientRect().width / svg.width.baseVal.value;
    return parseFloat(getComputedStyle(text).fontSize) * scale;
})"""


def test_lines_are_lighter_on_a_dark_page(browser: Browser, book_html: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    open_page(page, book_html, "playground")
    blue = page.locator(".explorer path[stroke='#0173b2']").first
    assert blue.evaluate("line => getComputedStyle(line).stroke") == "rgb(91, 179, 234)"
    page.close()


# --- what leads through a page ---


def test_one_price_moves_all_figures_and_stays_in_sight(
    fresh: Callable[[str], Page],
) -> None:
    page = fresh("turn-the-results")
    price = page.get_by_role("slider", name="price log γ, nats")
    assert price.count() == 1
    assert page.locator(".of-the-page").get_by_role("slider").count() == 1
    starts = page.locator(".explorer").nth(6)
    starts.scroll_into_view_if_needed()
    bar = page.locator(".of-the-page").bounding_box()
    assert bar is not None
    assert 0 <= bar["y"] <= 100
    price.focus()
    page.keyboard.press("End")
    assert price.get_attribute("aria-valuetext") == "110"
    page.wait_for_timeout(300)
    signals = [
        page.locator(".explorer").nth(place).evaluate(f"e => e.view.signal('{name}')")
        for place, name in enumerate(("price", "price", "price", "price", "share", "share"))
    ]
    known = runs(ARCHIVE, "lenet-300-100").query("point == 'pixels log_gamma=110'")
    zeros = 100 - known["weights_percent"].mean()
    nearest = min((90, 95, 97, 98, 98.5, 99, 99.5), key=lambda share: abs(share - zeros))
    # LeNet-5 has prices of its own: 25, 50, 100, 200 and 380.
    assert signals[:5] == [110, 110, 110, 100, nearest]
    own = page.locator(".explorer").nth(3).get_by_role("slider")
    assert own.get_attribute("aria-valuetext") == "100"
    for place in range(4):
        readout = page.locator(".explorer").nth(place).locator(".readout").text_content()
        assert f"log γ\u00a0=\u00a0{signals[place]}" in str(readout)


def test_the_marks_before_the_last_change_stay_as_a_ghost(fresh: Callable[[str], Page]) -> None:
    page = fresh("playground")
    explorer = page.locator(".explorer").first
    assert explorer.locator(".ghost").count() == 0
    slider = explorer.get_by_role("slider")
    slider.focus()
    lines = """element => Array.from(
        element.querySelectorAll("[class*=remembered_costs] .mark-line > path"),
        path => path.getAttribute("d"),
    )"""
    first = explorer.locator(DRAWING).evaluate(lines)
    assert len(first) == 3
    for _ in range(3):  # one change, in three steps
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1000)
    assert explorer.locator(".ghost").evaluate(lines) == first
    second = explorer.locator(DRAWING).evaluate(lines)
    assert second != first
    assert "Faint" in explorer.locator(".look").inner_text()
    assert explorer.locator(".ghost text").count() == 0
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert explorer.locator(".ghost").count() == 1
    assert explorer.locator(".ghost").evaluate(lines) == second
    ghost, now = (explorer.locator(of).bounding_box() for of in (".ghost", DRAWING))
    assert ghost == pytest.approx(now, abs=1)


@pytest.mark.parametrize(
    ("name", "place"), [("turn-the-results", 0), ("turn-the-results", 4), ("playground", 3)]
)
def test_a_prediction_is_asked_for_and_answered_by_keyboard(
    fresh: Callable[[str], Page], name: str, place: int
) -> None:
    page = fresh(name)
    explorer = page.locator(".explorer").nth(place)
    predict = explorer.evaluate(
        "e => JSON.parse(e.querySelector('script').textContent).usermeta.predict"
    )
    assert explorer.locator(".readout").evaluate("e => getComputedStyle(e).visibility") == "hidden"
    assert explorer.locator(".cover").count() == int(predict["hides"] is not None)
    if predict["hides"]:
        cover, svg = (explorer.locator(of).bounding_box() for of in (".cover", DRAWING))
        assert cover is not None
        assert svg is not None
        assert cover["width"] > 0.35 * svg["width"]
        assert cover["height"] > 0.8 * svg["height"]
    wrong = (predict["right"] + 1) % len(predict["choices"])
    explorer.get_by_role("button", name=predict["choices"][wrong]).focus()
    page.keyboard.press("Enter")
    reply = explorer.locator(".reply").inner_text()
    assert "otherwise" in reply
    assert predict["answer"] in reply
    assert explorer.locator(".cover").count() == 0
    assert explorer.get_by_role("button").count() == 0
    assert explorer.locator(".readout").is_visible()
    for control, value in (predict["sets"] or {}).items():
        assert explorer.evaluate(f"e => e.view.signal('{control}')") == value


def test_the_right_answers_of_the_predictions_are_those_of_results() -> None:
    table = trained.trajectories_of(ARCHIVE).query("price == 28 and seed == 0")
    share = {}
    for row in table.to_dict("records"):
        counts = [int(count or 0) for count in str(row["theta0"]).split(" ")]
        share[row["epoch"]] = sum(counts[1:-1]) / sum(counts) if sum(counts) else 0
    first = min(epoch for epoch, part in share.items() if epoch > 1 and part < 0.05)
    predict = explorers.theta_in_motion(ARCHIVE).spec["usermeta"]["predict"]
    assert predict["right"] == int(3 * (first - 1) // 90)
    assert f"After epoch {first} " in predict["answer"]
    known = runs(ARCHIVE, "halo-lenet-300-100").query("point == 'large'")
    before, after = (known[f"error_at_{zeros}"].to_numpy(float).mean() for zeros in (95, 98))
    predict = explorers.error_against_zeros(ARCHIVE, "lenet-300-100").spec["usermeta"]["predict"]
    assert predict["right"] == (0 if after < 1.1 * before else 1 if after < 2 * before else 2)
    assert f"It is {after:.2f} %" in predict["answer"]


def test_a_click_drops_a_unit_of_ones_own(fresh: Callable[[str], Page]) -> None:
    page = fresh("playground")
    shown = Shown(page, 1)
    shown.element.scroll_into_view_if_needed()
    plot = shown.element.locator(f"{DRAWING} .root > g > .background").bounding_box()
    assert plot is not None
    # θ = 0.2, r = 0.3: below the line.
    x, y = plot["x"] + 0.2 * plot["width"], plot["y"] + (1 - 0.3 / 1.5) * plot["height"]
    page.mouse.click(x, y)
    page.wait_for_timeout(200)
    for name, value in (("your unit: θ", 0.2), ("your unit: r", 0.3)):
        slider = shown.element.get_by_role("slider", name=name)
        assert float(slider.input_value()) == pytest.approx(value, abs=0.021)
    (begin,) = (row for row in shown.rows("own", "step", "theta0", "norm0", "fate", "told")
                if row["own"])  # fmt: skip
    assert begin["theta0"] == pytest.approx(0.2, abs=0.021)
    assert begin["norm0"] == pytest.approx(0.3, abs=0.021)
    assert begin["fate"] == "dies"
    assert "Your unit dies." in shown.readout()


def test_a_published_square_tells_its_value_and_source(fresh: Callable[[str], Page]) -> None:
    page = fresh("turn-the-results")
    shown = Shown(page, PLACES["size_of_lenet_300_100"][1])
    published = load_published(ARCHIVE).query("method == 'VIBNet' and model == 'lenet-300-100'")
    mark = shown.element.locator(f"{DRAWING} .mark-symbol.role-mark path[fill]")
    shown.element.scroll_into_view_if_needed()
    told = None
    for place in range(mark.count()):
        mark.nth(place).hover(force=True)
        page.wait_for_timeout(60)
        tooltip = page.locator("#vg-tooltip-element.visible")
        if tooltip.count() and tooltip.inner_text().startswith("VIBNet"):
            told = tooltip.inner_text()
            break
    assert told is not None
    row = published.iloc[0]
    assert f"{row['error_percent']:g} %" in told
    assert str(row["source"]) in told
