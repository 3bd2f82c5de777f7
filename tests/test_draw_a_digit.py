"""Draw a digit: what the page computes beside PyTorch, and what a reader does with it.

The networks, the paper and the preparation are also those of the first screen.
"""

import base64
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from pruning_core.experiments.data import Dataset
from pruning_core.export import load_model
from pruning_core.metrics import count_macs, count_nonzero_weights, error_percent
from pruning_core.studies.archive import Archive
from pruning_core.studies.intervals import interval
from pruning_core.studies.tables import by_point

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)
PRICES = (10, 14, 20, 28, 40, 56, 80, 110)
POINTS = {
    "dense": ("training-cost", "lenet-300-100-dense"),
    **{f"price-{price}": ("lenet-300-100", f"pixels log_gamma={price}") for price in PRICES},
    "halo": ("halo-lenet-300-100", "default"),
}
"""By name of the network, its study and point; in the order of the slider."""

NETWORKS = list(POINTS)
TWO = [
    *[(0.28, 0.36), (0.30, 0.26), (0.40, 0.18), (0.54, 0.18), (0.65, 0.26), (0.67, 0.38)],
    *[(0.60, 0.52), (0.45, 0.66), (0.28, 0.82), (0.45, 0.80), (0.60, 0.81), (0.74, 0.80)],
]
"""A stroke in shares of the paper, from left and top."""

SEVEN = [(0.26, 0.24), (0.50, 0.23), (0.72, 0.24), (0.58, 0.50), (0.45, 0.82)]

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
        page.goto((book_html / "book" / "draw-a-digit.html").as_uri(), wait_until="load")
        page.locator(".digits-live").wait_for()
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


def strokes_of(points: list[tuple[float, float]]) -> list[list[float]]:
    """On the paper, with as many points as the mouse makes of it."""
    between = [
        ((1 - t) * x0 + t * x1, (1 - t) * y0 + t * y1)
        for (x0, y0), (x1, y1) in pairwise(points)
        for t in (0.25, 0.5, 0.75, 1.0)
    ]
    return [[560 * x, 560 * y] for x, y in [points[0], *between]]


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
    return np.array(page.evaluate("[...digits.seen()]")).reshape(28, 28)


def normalised(page: Page, ink: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
    """What the page makes of a paper, shape (28, 28)."""
    result = page.evaluate(
        "([ink, width]) => [...digits.normalised("
        "Float32Array.from(atob(ink), c => c.charCodeAt(0)), width)]",
        [base64.b64encode(ink.tobytes()).decode(), ink.shape[1]],
    )
    return np.array(result).reshape(28, 28)


def centre_of_mass(image: np.ndarray[Any, Any]) -> tuple[float, float]:
    middles = np.arange(28) + 0.5
    mass = image.sum()
    return float(image.sum(0) @ middles / mass), float(image.sum(1) @ middles / mass)


def network(name: str) -> torch.nn.Module:
    return load_model(ROOT / f"results/models/lenet-300-100-{name}")


@pytest.fixture(scope="module")
def answering(opener: Opener, mnist: Dataset) -> Iterator[Page]:
    """A page that holds the whole test set, as bytes."""
    page = opener()
    pixels = (mnist.eval_images * 255).round().to(torch.uint8).numpy().tobytes()
    page.evaluate(
        "text => { window.tests = Uint8Array.from(atob(text), c => c.charCodeAt(0)); }",
        base64.b64encode(pixels).decode(),
    )
    yield page
    page.context.close()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_in_the_page_is_the_one_in_pytorch_on_the_whole_test_set(
    answering: Page, mnist: Dataset, name: str
) -> None:
    found = answering.evaluate(
        """name => {
            const network = digits.networks.find(one => one.name === name);
            const bytes = i => tests.subarray(784 * i, 784 * (i + 1));
            const image = i => Float32Array.from(bytes(i), b => b / 255);
            return Array.from({length: tests.length / 784},
                (_, i) => Array.from(digits.layersOf(network, image(i)).at(-1)));
        }""",
        name,
    )
    with torch.no_grad():
        expected = network(name)(mnist.eval_images)
    logits = torch.tensor(found)
    assert len(logits) == 10_000
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=0)
    assert logits.argmax(1).equal(expected.argmax(1))


def read_by(name: str) -> list[int]:
    """The pixels that a network reads: those of its gate, or all."""
    return network(name).state_dict().get("gate0.index", torch.arange(784)).tolist()


def test_from_log_odds_to_probabilities(page: Page) -> None:
    logits = torch.tensor([-3.0, 80.0, 79.0, 0.5])
    found = page.evaluate("logits => digits.shares(logits)", logits.tolist())
    torch.testing.assert_close(torch.tensor(found), logits.softmax(0))


def test_the_page_tells_the_size_and_the_error_of_each_network_and_of_ten(
    page: Page, mnist: Dataset
) -> None:
    """The dense one beside whichever the slider chooses."""
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    for place, name in enumerate(NETWORKS):
        study, point = POINTS[name]
        errors = by_point(ARCHIVE, study)[point]["test_error_percent"]
        assert len(errors) == 10
        panel = page.locator("section[data-network]").nth(min(place, 1))
        assert panel.get_attribute("data-network") == name
        model = network(name)
        told = [
            fact.replace("\N{NO-BREAK SPACE}", " ")
            for fact in panel.locator("dd").all_inner_texts()
        ]
        assert told[:4] == [
            f"{count_nonzero_weights(model):,}",
            f"{count_macs(model, mnist.eval_images[:1]):,}",
            f"{error_percent(model, mnist.eval_images, mnist.eval_labels):.2f} %",
            f"{interval(errors)} %",
        ]
        if place:
            spoken = slider.get_attribute("aria-valuetext")
            assert spoken == {"halo": "HALO"}.get(
                name, f"{name.removeprefix('price-')} nats a unit"
            )
            page.keyboard.press("ArrowRight")


def test_the_time_is_told_beside_the_work(page: Page) -> None:
    told = page.locator(".digit-ratio")
    page.wait_for_function("document.querySelector('.digit-ratio').textContent !== ''")
    dense, chosen = (
        count_macs(network(n), torch.zeros(1, 1, 28, 28)) for n in ("dense", "price-28")
    )
    found = re.fullmatch(
        r"On this machine the second takes 1/([\d.]+) of the time of the first, "
        r"with 1/([\d.]+) of its multiply-accumulates\.",
        told.inner_text(),
    )
    assert found
    assert float(found[2]) == pytest.approx(dense / chosen, abs=0.051)
    assert float(found[1]) > 2
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    page.wait_for_function(
        "document.querySelector('.digit-ratio').textContent.endsWith('that are not zero.')"
    )


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
    draw(page, [(corner[0] + 0.5 * x, corner[1] + 0.5 * y) for x, y in TWO])
    image = seen(page)
    assert all(14 <= centre < 15 for centre in centre_of_mass(image))
    rows, columns = image.any(1).sum(), image.any(0).sum()
    assert max(rows, columns) == 20
    assert said(page) == "Both networks read a 2."


@pytest.mark.parametrize("strokes", [TWO, SEVEN], ids=["2", "7"])
@pytest.mark.parametrize("share", [0.12, 0.3, 1.6], ids=["tiny", "small", "oversized"])
def test_a_digit_of_any_size_and_place_is_seen_with_a_pen_as_wide_as_in_mnist(
    page: Page, strokes: list[tuple[float, float]], share: float
) -> None:
    """Even if it is wider than the paper, which it then leaves, or 30 pixels high."""
    page.evaluate(
        "strokes => { window.reference = [...digits.written([strokes])]; }", strokes_of(strokes)
    )
    corner = -0.3 if share > 1 else 0.62
    draw(page, [(corner + share * x, corner + share * y) for x, y in strokes])
    image, reference = seen(page), np.array(page.evaluate("reference")).reshape(28, 28)
    assert image.sum() == pytest.approx(reference.sum(), rel=0.12)
    digit = {12: 2, 5: 7}[len(strokes)]
    for name in NETWORKS:
        read = page.evaluate(
            "name => digits.answer(digits.networks.find(n => n.name === name),"
            " Float32Array.from(digits.seen()))",
            name,
        )
        assert read == digit, name


def test_strokes_are_as_wide_as_people_drew_them(page: Page, mnist: Dataset) -> None:
    """An upright line: its width is its ink over its height. So are those of MNIST's upright 1s."""
    line = np.array(page.evaluate("[...digits.written([[[100, 100], [100, 180], [100, 300]]])]"))
    width = line.sum() / 20
    ones = mnist.eval_images[mnist.eval_labels == 1, 0]
    upright = ones[(ones > 0.5).any(1).sum(1) <= 5]
    widths = upright.sum((1, 2)) / (upright > 0.25).any(2).sum(1)
    assert len(upright) > 200
    assert widths.quantile(0.1) < width < widths.quantile(0.9)


def test_the_bars_follow_the_pen_before_it_is_lifted(page: Page) -> None:
    example = bars(page)
    assert said(page) == "Both networks read a 7."
    page.mouse.move(*position(page, 0.5, 0.2))
    page.mouse.down()
    page.mouse.move(*position(page, 0.5, 0.8), steps=5)
    page.wait_for_function("digits.seen().some(value => value > 0.9)")
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
    assert page.evaluate("digits.seen()") is None
    ink = "canvas => canvas.getContext('2d').getImageData(0, 0, 560, 560).data.some(Boolean)"
    assert page.locator("canvas.digit-ink").evaluate(ink) is False


def test_with_the_keyboard_alone_one_reaches_every_button_and_gets_an_answer(
    page: Page, mnist: Dataset
) -> None:
    page.get_by_role("slider").focus()
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
    page.get_by_role("slider").focus()
    for _ in PRICES:
        page.keyboard.press("ArrowRight")
    assert page.get_by_role("slider").get_attribute("aria-valuetext") == "HALO"
    page.get_by_role("button", name="one on which they disagree").focus()
    page.keyboard.press("Space")
    assert re.fullmatch(r"Labelled \d\. Dense reads an? \d, HALO an? \d\.", said(page))


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
    page = opener(width, color_scheme=mode)
    page.get_by_role("button", name="Clear").click()
    for name in ("dense", "price-28"):
        screen = page.locator(f"[data-network={name}] svg")
        fills = screen.locator("rect").evaluate_all(
            "all => all.map(one => one.getAttribute('fill'))"
        )
        lit = [pixel for pixel, fill in enumerate(fills) if fill == "#1f425e"]
        assert lit == read_by(name)
        box = screen.bounding_box()
        assert box is not None
        assert box["width"] >= 112
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
