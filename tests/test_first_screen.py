"""The first screen: a digit, a price, and what ten networks read."""

import gzip
import importlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from test_draw_a_digit import NETWORKS, PRICES, ROOT, TWO, draw, network, read_by

from pruning_core.experiments.data import Dataset
from pruning_core.metrics import error_percent, weighted_layers

pytestmark = pytest.mark.browser

Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def opener(browser: Browser, book_html: Path) -> Iterator[Opener]:
    """Opens the page; it may log no error."""
    errors: list[str] = []

    def new_page(width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((book_html / "book" / "index.html").as_uri(), wait_until="load")
        if options.get("java_script_enabled", True):
            page.locator(".digits-live").wait_for()
        return page

    yield new_page
    assert errors == []


@pytest.fixture
def page(opener: Opener) -> Iterator[Page]:
    page = opener()
    yield page
    page.context.close()


def said(page: Page) -> str:
    return page.locator(".first-screen [role=status]").inner_text()


def strip(page: Page) -> list[str]:
    """What the ten networks read, as the page shows it."""
    return page.locator(".worth-answer").all_inner_texts()


def answers(image: torch.Tensor) -> list[int]:
    """Of all networks, by PyTorch, for an image of shape (28, 28)."""
    with torch.no_grad():
        return [int(network(name)(image[None, None]).argmax()) for name in NETWORKS]


def picture(page: Page) -> list[str]:
    """The colours of all squares and the widths of the bars."""
    return page.evaluate(
        "[...document.querySelectorAll('.worth-network rect')]"
        ".map(one => one.getAttribute('fill') ?? (+one.getAttribute('width')).toFixed(1))"
    )


def shown_digit(page: Page) -> torch.Tensor:
    return torch.tensor(page.evaluate("[...digits.seen()]")).view(28, 28)


def test_it_begins_with_a_digit_at_the_price_at_which_the_answer_flips(page: Page) -> None:
    expected = answers(shown_digit(page))
    assert strip(page) == [str(digit) for digit in expected]
    now = page.get_by_role("slider").evaluate("slider => slider.valueAsNumber")
    before, after = expected[now - 1], expected[now]
    assert before == expected[0] != after
    price = NETWORKS[now].removeprefix("price-")
    assert said(page).startswith(f"At {price} nats a unit this {before} becomes a {after}.")


def test_without_scripts_the_still_is_what_the_script_draws(opener: Opener, page: Page) -> None:
    still = opener(java_script_enabled=False)
    assert picture_without_scripts(still) == picture(page)
    for place in (".worth-told", ".worth-price output"):
        assert still.locator(place).inner_text() == page.locator(place).inner_text()
    assert strip(still) == strip(page)
    assert not still.get_by_role("slider").is_visible()
    still.context.close()


def picture_without_scripts(page: Page) -> list[str]:
    squares = page.locator(".worth-network rect").all()
    return [
        square.get_attribute("fill") or f"{float(square.get_attribute('width') or 0):.1f}"
        for square in squares
    ]


def test_the_slider_shows_which_pixels_and_units_are_left_and_how_they_answer(page: Page) -> None:
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    image = shown_digit(page)
    for name in NETWORKS:
        lit = page.evaluate(
            "[...digits.networks.find(n => n.name === {name!r}).reads.keys()]"
            ".filter(pixel => digits.networks.find(n => n.name === {name!r}).reads[pixel])".replace(
                "{name!r}", repr(name)
            )
        )
        values = layers(name, image)
        if name != "halo":
            assert lit == read_by(name)
            counts = [len(lit), len(values[0]), len(values[1])]
            told = page.locator(".worth-counts tspan").all_text_contents()
            assert told == [str(count) for count in counts]
        for layer, activations in enumerate(values):
            fills = page.locator(".worth-units").nth(layer).locator("rect")
            colours = fills.evaluate_all("all => all.map(one => one.getAttribute('fill'))")
            assert len(colours) == (300, 100)[layer]
            left = [colour for colour in colours if colour != "#1a222b"]
            assert colours[: len(left)] == left
            if name != "halo":
                brightest = int(activations.argmax())
                assert len(left) == len(activations)
                assert left[brightest] == "#fff1d6"
                assert {left[i] for i in (activations == 0).nonzero()[:, 0].tolist()} <= {"#1f425e"}
        page.keyboard.press("ArrowRight")


def layers(name: str, image: torch.Tensor) -> list[torch.Tensor]:
    """What the units of both hidden layers answer, by PyTorch."""
    model = network(name)
    found: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, output: found.append(output[0].relu()))
        for layer in weighted_layers(model)[:-1]
    ]
    with torch.no_grad():
        model(image[None, None])
    for hook in hooks:
        hook.remove()
    return found


def test_of_each_network_it_tells_what_is_left_and_how_it_errs(page: Page, mnist: Dataset) -> None:
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    for name in NETWORKS:
        model = network(name)
        left = (
            100 * sum(int((layer.weight != 0).sum()) for layer in weighted_layers(model)) / 266_200
        )
        number = page.locator(".worth-left strong").inner_text()
        assert float(number.removesuffix(" %")) == pytest.approx(left, abs=0.051)
        error = error_percent(model, mnist.eval_images, mnist.eval_labels)
        assert (
            page.locator(".worth-errors")
            .inner_text()
            .startswith(f"On the test set it errs on {error:.2f} %; ten trained like it, on ")
        )
        spoken = slider.get_attribute("aria-valuetext") or ""
        words = {"dense": "dense", "halo": "HALO"}.get(name, f"{name[6:]} nats a unit")
        assert spoken.startswith(f"{words}: it reads a")
        assert page.locator(".worth-now .worth-stop").inner_text() == words.split()[0]
        page.keyboard.press("ArrowRight")


def sentence(label: int, found: list[int]) -> str:
    """What should be said of a test digit, put together from a list of changes."""

    def a(digit: int) -> str:
        return f"an {digit}" if digit == 8 else f"a {digit}"

    dense, priced, halo = found[0], found[1:-1], found[-1]
    start = "" if label == dense else f"Labelled {label}; the dense network reads {a(dense)}. "
    if len(set(found)) == 1:
        return f"{start}All ten networks read {a(dense)}."
    met, changes = [dense], []
    for price, (before, now) in zip(PRICES, pairwise([dense, *priced]), strict=True):
        if now != before:
            changes.append((price, a(now) + (" again" if now in met else "")))
        met.append(now)
    if not changes:
        return f"{start}At all eight prices it stays {a(dense)}. HALO reads {a(halo)}."
    if len(changes) > 2:
        times = f"As the price rises, the answer changes {len(changes)} times."
        return f"{start}{times} HALO reads {a(halo)}."
    (price, first), *more = changes
    rest = "".join(f", at {price} {now}" for price, now in more)
    return (
        f"{start}At {price} nats a unit this {dense} becomes {first}{rest}. HALO reads {a(halo)}."
    )


def test_every_test_digit_gets_the_sentence_that_is_true_of_it(page: Page) -> None:
    found = page.evaluate(
        """digitNetworks.labels.map((label, index) => {
            const bytes = Uint8Array.from(atob(digitNetworks.images), c => c.charCodeAt(0));
            const own = bytes.subarray(784 * index, 784 * (index + 1));
            const image = Float32Array.from(own, b => b / 255);
            const answers = digits.networks.map(network => digits.answer(network, image));
            return [label, answers, digits.happened(label, answers)];
        })"""
    )
    assert len(found) > 60
    assert all(told == sentence(label, read) for label, read, told in found)
    told = " ".join(told for _, _, told in found)
    for kind in ("All ten networks", "again", ", at ", "Labelled", " times."):
        assert kind in told
    read = [4, 4, 4, 4, 4, 4, 4, 4, 4, 9]
    assert page.evaluate("read => digits.happened(4, read)", read) == sentence(4, read)
    assert sentence(4, read) == "At all eight prices it stays a 4. HALO reads a 9."


def test_what_a_reader_writes_is_read_by_all_ten(page: Page) -> None:
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    draw(page, TWO)
    assert strip(page) == ["2"] * 10
    assert said(page) == "All ten networks read a 2."
    told = page.evaluate("digits.happened(null, [4, 4, 4, 4, 4, 9, 9, 9, 9, 4])")
    assert told == "At 40 nats a unit your 4 becomes a 9. HALO reads a 4."
    page.get_by_role("button", name="Clear").click()
    assert said(page) == "Nothing on the paper yet."
    assert strip(page) == ["–"] * 10


def test_the_button_takes_digits_that_flip_each_time_another_one(page: Page) -> None:
    button = page.get_by_role("button", name="one that flips")
    seen = set()
    for _ in range(10):
        button.focus()
        page.keyboard.press("Enter")
        read = answers(shown_digit(page))[:-1]
        assert sum(now != before for before, now in pairwise(read)) == 1
        seen.add(tuple(shown_digit(page).flatten().tolist()))
    assert len(seen) == 10


@pytest.mark.parametrize("name", ["first-screen", "draw-a-digit"])
def test_what_stands_in_the_page_is_well_formed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """E-books take no other HTML."""
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    pages = importlib.import_module("draw_a_digit")
    drawn = ElementTree.fromstring(pages.rendered(name))
    assert drawn.get("class") == f"digits {name}"
    assert len(list(drawn.iter("rect"))) >= 784 + 400


def test_clicking_an_answer_moves_the_slider_there(page: Page) -> None:
    page.locator(".worth-answers li").nth(2).click()
    assert page.locator(".worth-price output").inner_text() == "14 nats a unit"


def test_the_first_load_is_light_and_has_neither_mathematics_nor_charts(
    browser: Browser, book_html: Path
) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto((book_html / "book" / "index.html").as_uri(), wait_until="networkidle")
    files = {Path(unquote(urlsplit(url).path)) for url in asked if url.startswith("file:")}
    size = sum(len(gzip.compress(file.read_bytes())) for file in files)
    assert {"index.html", "digit-networks.js"} <= {file.name for file in files}
    assert not {"tex-svg-full.js", "explorers.js"} & {file.name for file in files}
    assert size <= 2_000_000
    context.close()


def test_units_fade_unless_the_reader_wants_no_motion(opener: Opener) -> None:
    for motion, expected in (("no-preference", "0.35s"), ("reduce", "0s")):
        page = opener(reduced_motion=motion)
        square = page.locator(".worth-units rect").first
        assert square.evaluate("one => getComputedStyle(one).transitionDuration") == expected
        page.context.close()


def test_on_paper_stands_the_still_without_controls(page: Page) -> None:
    page.emulate_media(media="print")
    for hidden in (".digit-paper", ".digit-tests", ".worth-price input", "a.start-here"):
        assert not page.locator(hidden).is_visible()
    for visible in ("svg.worth-network", ".worth-answers", ".worth-told"):
        assert page.locator(visible).is_visible()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_in_both_modes_and_on_a_phone(opener: Opener, mode: str, width: int) -> None:
    page = opener(width, color_scheme=mode)
    letters = page.locator(".worth-network text").first
    scale = page.locator(".worth-network").evaluate("svg => svg.getScreenCTM().a")
    size = float(letters.evaluate("text => getComputedStyle(text).fontSize").removesuffix("px"))
    assert size * scale >= 11
    cramped = (
        "[...document.querySelectorAll('.first-screen :is(li, p, button, output)')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)"
        ".map(e => e.outerHTML)"
    )
    assert page.evaluate(cramped) == []
    found = Axe().run(page, context=".first-screen", options={"resultTypes": ["violations"]})
    assert [violation["id"] for violation in found.response["violations"]] == []
    page.context.close()
