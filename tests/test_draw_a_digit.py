"""Draw a digit: what the page computes beside PyTorch, and what a reader does with it."""

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from pruning_core.experiments.data import Dataset
from pruning_core.export import load_model
from pruning_core.metrics import count_macs, count_weights, error_percent
from pruning_core.studies.archive import Archive
from pruning_core.studies.intervals import interval
from pruning_core.studies.tables import by_point

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)
NETWORKS = ("dense", "pruned")
TWO = [
    *[(0.28, 0.36), (0.30, 0.26), (0.40, 0.18), (0.54, 0.18), (0.65, 0.26), (0.67, 0.38)],
    *[(0.60, 0.52), (0.45, 0.66), (0.28, 0.82), (0.45, 0.80), (0.60, 0.81), (0.74, 0.80)],
]
"""A stroke in shares of the paper, from left and top."""

pytestmark = pytest.mark.browser

Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def opener(browser: Browser, book_html: Path) -> Iterator[Opener]:
    """Opens the page; it may log no error."""
    errors: list[str] = []

    def new_page(mode: str = "light", width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.add_init_script(f"localStorage.mode = localStorage.theme = '{mode}'")
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((book_html / "book" / "draw-a-digit.html").as_uri(), wait_until="load")
        page.locator(".digit-live").wait_for()
        return page

    yield new_page
    assert errors == []


@pytest.fixture
def page(opener: Opener) -> Iterator[Page]:
    page = opener()
    yield page
    page.context.close()


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    page.locator("canvas.digit-ink").scroll_into_view_if_needed()
    where = [position(page, *point) for point in points]
    page.mouse.move(*where[0])
    page.mouse.down()
    for point in where[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def position(page: Page, across: float, down: float) -> tuple[float, float]:
    """Of a point of the paper, in the window."""
    box = page.locator("canvas.digit-ink").bounding_box()
    assert box is not None
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def said(page: Page) -> str:
    return page.locator(".draw-a-digit [role=status]").inner_text()


def bars(page: Page) -> list[list[float]]:
    """The heights of the ten bars of each network, from 0 to 1."""
    return page.evaluate(
        "[...document.querySelectorAll('.draw-a-digit section')].map(section => "
        "[...section.querySelectorAll('li')].map(li => +li.style.getPropertyValue('--share')))"
    )


def seen(page: Page) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What the networks see, shape (28, 28)."""
    return np.array(page.evaluate("[...drawADigit.seen()]")).reshape(28, 28)


def normalised(page: Page, ink: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
    """What the page makes of a paper, shape (28, 28)."""
    result = page.evaluate(
        "([ink, width]) => [...drawADigit.normalised("
        "Float32Array.from(atob(ink), c => c.charCodeAt(0)), width)]",
        [base64.b64encode(ink.tobytes()).decode(), ink.shape[1]],
    )
    return np.array(result).reshape(28, 28)


def centre_of_mass(image: np.ndarray[Any, Any]) -> tuple[float, float]:
    middles = np.arange(28) + 0.5
    mass = image.sum()
    return float(image.sum(0) @ middles / mass), float(image.sum(1) @ middles / mass)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_in_the_page_is_the_one_in_pytorch_on_the_whole_test_set(
    page: Page, mnist: Dataset, name: str
) -> None:
    pixels = (mnist.eval_images * 255).round().to(torch.uint8).numpy().tobytes()
    found = page.evaluate(
        """([text, name]) => {
            const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
            const network = drawADigit.networks[name];
            return Array.from({length: bytes.length / 784}, (_, i) => drawADigit.answer(
                network, Float32Array.from(bytes.subarray(784 * i, 784 * (i + 1)), b => b / 255)));
        }""",
        [base64.b64encode(pixels).decode(), name],
    )
    with torch.no_grad():
        expected = load_model(ROOT / f"results/models/lenet-300-100-{name}")(mnist.eval_images)
    answers = torch.tensor(found)
    assert len(answers) == 10_000
    torch.testing.assert_close(answers, expected.softmax(1), atol=1e-3, rtol=0)
    assert answers.argmax(1).equal(expected.argmax(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_tells_the_size_and_the_error_of_the_network_and_of_ten(
    page: Page, mnist: Dataset, name: str
) -> None:
    network = load_model(ROOT / f"results/models/lenet-300-100-{name}")
    point = {"dense": "lenet-300-100-dense", "pruned": "lenet-300-100"}[name]
    errors = by_point(ARCHIVE, "training-cost")[point]["test_error_percent"]
    assert len(errors) == 10
    told = page.locator(f"[data-network={name}] dd").all_inner_texts()[:4]
    assert told == [
        f"{count_weights(network):,}",
        f"{count_macs(network, mnist.eval_images[:1]):,}",
        f"{error_percent(network, mnist.eval_images, mnist.eval_labels):.2f} %",
        f"{interval(errors)} %",
    ]


def test_test_digits_pass_through_the_preparation_as_they_are(page: Page, mnist: Dataset) -> None:
    """They have been through it already: a digit enlarged twenty times comes back unchanged."""
    images = (mnist.eval_images[:50, 0] * 255).round().to(torch.uint8).numpy()
    for image in images:
        paper = np.kron(image, np.ones((20, 20), np.uint8))
        np.testing.assert_allclose(normalised(page, paper), image / 255, atol=1e-6)


def test_each_pixel_is_the_mean_of_the_area_that_it_covers(page: Page) -> None:
    paper = np.zeros((560, 560), np.uint8)
    paper[33:477, 301:348] = 255
    paper[33:101, 200:348] = 140
    image = normalised(page, paper)
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    found = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # As many copies of each pixel as make the areas whole numbers of them.
    fine = np.kron(paper[33:477, 200:348] / 255, np.ones((20, 7)))
    expected = fine.reshape(20, 444, 7, 148).mean((1, 3))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.5, 0.0), (0.45, 0.55)])
def test_wherever_it_is_drawn_a_digit_has_its_centre_of_mass_in_the_middle(
    page: Page, corner: tuple[float, float]
) -> None:
    """The middle of MNIST is pixel 14 of 0 to 27, as wide as a pixel: from 14 to 15."""
    page.get_by_role("button", name="Clear").click()
    draw(page, [(corner[0] + 0.5 * x, corner[1] + 0.5 * y) for x, y in TWO])
    image = seen(page)
    assert all(14 <= centre < 15 for centre in centre_of_mass(image))
    rows, columns = image.any(1).sum(), image.any(0).sum()
    assert max(rows, columns) == 20
    assert said(page) == "Both networks read a 2."


def test_the_bars_follow_the_pen_before_it_is_lifted(page: Page) -> None:
    example = bars(page)
    assert said(page) == "Both networks read a 7."
    page.mouse.move(*position(page, 0.5, 0.2))
    page.mouse.down()
    page.mouse.move(*position(page, 0.5, 0.8), steps=5)
    page.wait_for_function("drawADigit.seen().some(value => value > 0.9)")
    page.wait_for_function(
        "before => [...document.querySelectorAll('.digit-best span:first-child')]"
        ".every(e => e.textContent === '1')",
        arg=example,
    )
    page.mouse.up()
    assert said(page) == "Both networks read a 1."
    for before, after in zip(example, bars(page), strict=True):
        assert before != after
        assert sum(after) == pytest.approx(1)


def test_clear_leaves_an_empty_paper_and_no_answer(page: Page) -> None:
    draw(page, TWO)
    page.get_by_role("button", name="Clear").click()
    assert bars(page) == [[0] * 10] * 2
    assert said(page) == "Nothing on the paper yet."
    assert page.evaluate("drawADigit.seen()") is None
    ink = "canvas => canvas.getContext('2d').getImageData(0, 0, 560, 560).data.some(Boolean)"
    assert page.locator("canvas.digit-ink").evaluate(ink) is False


def test_with_the_keyboard_alone_one_reaches_every_button_and_gets_an_answer(
    page: Page, mnist: Dataset
) -> None:
    page.get_by_role("button", name="Clear").focus()
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
        page.keyboard.press("Enter")
        if reached[-1].isdigit():
            assert said(page).startswith(f"Labelled {reached[-1]}. ")
            index = int((mnist.eval_labels == int(reached[-1])).nonzero()[0])
            expected = mnist.eval_images[index, 0].numpy()
            np.testing.assert_allclose(seen(page), expected, atol=1e-6)
    assert reached == [*"0123456789", "one on which they disagree"]
    page.keyboard.press("Space")
    assert re.fullmatch(r"Labelled \d\. Dense reads an? \d, pruned an? \d\.", said(page))


def test_a_finger_draws_and_does_not_scroll(opener: Opener) -> None:
    page = opener(width=390, has_touch=True)
    page.locator("canvas.digit-ink").scroll_into_view_if_needed()
    scrolled = page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    for index, point in enumerate(TWO):
        x, y = position(page, *point)
        kind = "touchMove" if index else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function(
        "document.querySelector('.draw-a-digit [role=status]').textContent.endsWith('a 2.')"
    )
    assert page.evaluate("scrollY") == scrolled
    page.context.close()


def test_a_stroke_goes_on_over_a_test_digit(page: Page) -> None:
    page.get_by_role("button", name="Take a test digit 1").click()
    before = seen(page)
    draw(page, [(0.1, 0.9), (0.9, 0.9)])
    assert seen(page).sum() > 1.5 * before.sum()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_picture_can_be_read_in_both_modes_and_on_a_phone(
    opener: Opener, mode: str, width: int
) -> None:
    page = opener(mode, width)
    page.get_by_role("button", name="Clear").click()
    for name in NETWORKS:
        screen = page.locator(f"[data-network={name}] canvas")
        lit, side = screen.evaluate(
            """canvas => {
                const [size, cell] = [canvas.width, canvas.width / 28];
                const {data} = canvas.getContext("2d").getImageData(0, 0, size, size);
                const at = i => Math.floor((i % 28 + 0.3) * cell)
                    + size * Math.floor((Math.floor(i / 28) + 0.3) * cell);
                const lit = [...Array(784).keys()].filter(i => data[4 * at(i) + 3] === 255);
                return [lit, canvas.clientWidth];
            }"""
        )
        assert lit == page.evaluate(f"drawADigit.networks.{name}.pixels")
        assert side >= 112
    page.get_by_role("button", name="one on which they disagree").click()
    cramped = (
        "[...document.querySelectorAll('.draw-a-digit :is(li, dd, dt, p, button)')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)"
        ".map(e => e.outerHTML)"
    )
    assert page.evaluate(cramped) == []
    found = Axe().run(page, context=".draw-a-digit", options={"resultTypes": ["violations"]})
    assert [v["id"] for v in found.response["violations"]] == []
    page.context.close()
