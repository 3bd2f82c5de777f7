"""Prune it in the page: what a reader does with the network that trains there, and what it says."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

PATIENCE = 300_000  # milliseconds until a state that does not come is an error
DESKTOP, PHONE = 1280, 390

pytestmark = pytest.mark.browser

Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def address(book_html: Path) -> str:
    return (book_html / "book" / "prune-it-in-the-page.html").as_uri()


@pytest.fixture(scope="module")
def opener(browser: Browser, address: str) -> Iterator[Opener]:
    """Opens the page; it may log no error, and fetch nothing from elsewhere."""
    wrong: list[str] = []

    def new_page(width: int = DESKTOP, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if re.match("(file|blob|data):", request.url)
                else wrong.append(f"fetches {request.url}")
            ),
        )
        page.goto(address, wait_until="load")
        page.wait_for_function("window.pruneIt?.look")
        return page

    yield new_page
    assert wrong == []


@pytest.fixture
def page(opener: Opener) -> Iterator[Page]:
    page = opener()
    yield page
    page.context.close()


def button(page: Page, name: str) -> Locator:
    return page.locator(".self-pruning").get_by_role("button", name=name, exact=True)


def look(page: Page) -> dict[str, Any]:
    """What the page drew last, without its long arrays."""
    return page.evaluate(
        """() => {
            const {step, running, method, error, perDigit, weightsLeft, weightsTotal, layers} =
                pruneIt.look;
            const kept = layers.map(layer => [...layer.kept]);
            const [theta, worth] = ["theta", "worth"].map(
                name => layers.map(layer => [...(layer[name] ?? [])]));
            return {step, running, method, error, perDigit, weightsLeft, weightsTotal, kept, theta,
                worth, price: layers[0].price, frames: pruneIt.frames};
        }"""
    )


def number(page: Page, name: str) -> str:
    return page.locator(f"[data-number={name}]").inner_text()


def steps(page: Page, count: int) -> dict[str, Any]:
    """So many, as quickly as they come, of a run that pauses."""
    goal = look(page)["step"] + count
    page.evaluate(
        "count => { pruneIt.worker.postMessage({type: 'step', count}); pruneIt.lookSoon(); }", count
    )
    page.wait_for_function("goal => pruneIt.look.step >= goal", arg=goal)
    return look(page)


def turn(page: Page, name: str, value: float) -> None:
    """Put a slider where it gives about this value."""
    page.locator(f"#prune-{name}").evaluate(
        """(slider, value) => {
            const logarithmic = ["prune-lambda", "prune-f"].indexOf(slider.id) < 0;
            slider.value = logarithmic ? Math.log10(value) : value;
            slider.dispatchEvent(new Event("input", {bubbles: true}));
        }""",
        value,
    )


def choose(page: Page, method: str) -> None:
    page.locator(f".prune-method label:has([value={method}])").click()
    page.wait_for_function("method => pruneIt.look.method === method", arg=method)


def attribute(part: Locator, name: str) -> str:
    return part.get_attribute(name) or ""


def sentence(page: Page) -> str:
    return page.locator(".prune-sentence").inner_text()


def aloud(page: Page) -> str:
    return page.locator(".prune-hidden[role=status]").inner_text()


def test_it_starts_on_a_click_and_not_before_pauses_goes_on_and_begins_again(page: Page) -> None:
    page.wait_for_timeout(300)
    assert look(page)["step"] == 0
    assert number(page, "network") == "196-64-32-10"
    assert sentence(page).endswith("Press Start.")
    button(page, "Start").click()
    page.wait_for_function("pruneIt.look.step > 20")
    expect(button(page, "One step")).to_be_disabled()
    button(page, "Pause").click()
    page.wait_for_function("pruneIt.look.stepsPerSecond === 0")  # the worker's own last word
    reached = look(page)["step"]
    page.wait_for_timeout(300)
    assert look(page)["step"] == reached
    button(page, "One step").click()
    page.wait_for_function("reached => pruneIt.look.step > reached", arg=reached)
    assert look(page)["step"] == reached + 1
    assert number(page, "step") == f"{reached + 1:,}"
    button(page, "Go on").click()
    page.wait_for_function("step => pruneIt.look.step > step", arg=reached + 20)
    button(page, "Pause").click()
    button(page, "Again").click()
    page.wait_for_function("pruneIt.look.step === 0")
    assert page.evaluate("pruneIt.history.step.length") == 1
    assert number(page, "network") == "196-64-32-10"


def test_while_it_trains_each_answer_of_the_worker_is_a_frame(page: Page) -> None:
    page.evaluate(
        """() => {
            window.answers = 0;
            pruneIt.worker.addEventListener("message", ({data}) => {
                answers += data.type === "look";
            });
        }"""
    )
    before = look(page)
    button(page, "Start").click()
    page.wait_for_timeout(2_000)
    button(page, "Pause").click()
    page.wait_for_function("!pruneIt.look.running")
    page.wait_for_timeout(300)
    after = look(page)
    frames = after["frames"] - before["frames"]
    assert abs(frames - page.evaluate("answers")) <= 1
    assert frames > 5
    assert after["step"] > before["step"]
    print(f"{frames / 2:.0f} frames and {(after['step'] - before['step']) / 2:.0f} steps a second")


def test_the_same_seed_draws_the_same_run_and_another_another(page: Page) -> None:
    first = steps(page, 60)
    button(page, "Again").click()
    page.wait_for_function("pruneIt.look.step === 0")
    assert steps(page, 60) | {"frames": 0} == first | {"frames": 0}
    page.locator("#prune-seed").fill("7")
    page.locator("#prune-seed").press("Enter")
    page.wait_for_function("pruneIt.look.step === 0")
    other = steps(page, 60)
    assert other["worth"] != first["worth"]


@pytest.mark.parametrize(
    ("method", "setting", "value"),
    [
        ("bernoulli", "logGamma", 200),
        ("bernoulli", "lambda", 20),
        ("bernoulli", "thetaStep", 0.01),
        ("bernoulli", "f", 1),
        ("halo", "xi", 1e-3),
        ("halo", "psi", 1e-2),
    ],
)
def test_a_slider_that_is_moved_while_it_trains_changes_the_run(
    page: Page, method: str, setting: str, value: float
) -> None:
    choose(page, method)
    weights = "() => pruneIt.view.weights.map(({values}) => [...values.slice(0, 200)])"

    def run(turned: bool) -> tuple[Any, Any]:
        button(page, "Again").click()
        page.wait_for_function("pruneIt.look.step === 0")
        steps(page, 20)
        if turned:
            turn(page, setting, value)
        return steps(page, 30)["theta"], page.evaluate(weights)

    assert run(turned=False) == run(turned=False)
    assert run(turned=True) != run(turned=False)


def test_the_price_follows_at_once_while_it_trains(page: Page) -> None:
    button(page, "Start").click()
    page.wait_for_function("pruneIt.look.step > 5")
    turn(page, "logGamma", 100)
    page.wait_for_function("Math.abs(pruneIt.look.layers[0].price - 100) < 1")
    assert look(page)["running"]
    assert "100 nats" in attribute(page.locator("#prune-logGamma"), "aria-valuetext")


def test_all_sliders_go_back_to_where_they_were(page: Page) -> None:
    before = page.evaluate("({...pruneIt.settings})")
    for name, value in {"logGamma": 500, "thetaStep": 0.01, "f": 1, "lambda": 9}.items():
        turn(page, name, value)
    assert page.evaluate("pruneIt.settings") != before
    button(page, "Sliders as at first").click()
    assert page.evaluate("pruneIt.settings") == before
    assert steps(page, 5)["price"] == before["logGamma"]


def test_only_the_sliders_of_the_method_are_there(page: Page) -> None:
    def there() -> list[str | None]:
        sliders = page.locator(".self-pruning input:is([type=range], [type=number])")
        return [slider.get_attribute("id") for slider in sliders.all() if slider.is_visible()]

    bernoulli = ["prune-logGamma", "prune-lambda", "prune-thetaStep", "prune-f", "prune-seed"]
    assert there() == bernoulli
    choose(page, "halo")
    assert there() == ["prune-xi", "prune-psi", "prune-seed"]
    steps(page, 30)
    assert "exactly zero" in sentence(page)
    assert "λ of each weight" in attribute(page.locator("canvas.prune-worth"), "aria-label")
    choose(page, "bernoulli")
    assert there() == bernoulli


def test_the_price_is_dragged_in_the_chart(page: Page) -> None:
    steps(page, 10)
    chart = page.locator("canvas.prune-worth")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    line = page.evaluate(
        "selfPruningPictures.worth(document.querySelector('.prune-worth'), pruneIt.view).line"
    )
    page.mouse.move(box["x"] + line, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + line + 120, box["y"] + 60, steps=4)
    page.mouse.up()
    price = page.evaluate("pruneIt.settings.logGamma")
    assert price > 50
    slider = page.locator("#prune-logGamma")
    assert 10 ** float(slider.input_value()) == pytest.approx(price, rel=0.02)
    page.mouse.move(box["x"] + 100, box["y"] + 60, steps=4)
    assert page.evaluate("pruneIt.settings.logGamma") == price


def test_what_is_pointed_at_says_what_it_is_worth_and_what_it_costs(page: Page) -> None:
    state = steps(page, 400)
    page.locator(".prune-board").scroll_into_view_if_needed()
    box = page.locator(".prune-board").bounding_box()
    assert box is not None
    for layer, unit, name in [
        (0, 75, "The pixel in row 6, column 6,"),
        (1, 10, "Unit 11 of the first layer"),
        (2, 31, "Unit 32 of the second layer"),
    ]:
        x, y = page.evaluate("place => pruneIt.placeOf(place)", {"layer": layer, "unit": unit})
        page.mouse.move(box["x"] + x, box["y"] + y)
        said = re.match(
            rf"{name} is worth (−?[\d.,]+) nats and costs 12: .* \(θ = ([\d.]+)\)\.", sentence(page)
        )
        assert said, sentence(page)
        worth, theta = float(said[1].replace("−", "-").replace(",", "")), float(said[2])
        place = state["kept"][layer].index(unit)
        assert worth == pytest.approx(state["worth"][layer][place], abs=0.5)
        assert theta == pytest.approx(state["theta"][layer][place], abs=0.006)
    page.mouse.move(0, 0)
    assert "worth less than the price" in sentence(page)


def test_a_dot_of_the_chart_is_the_unit_of_the_board(page: Page) -> None:
    steps(page, 400)
    chart = page.locator("canvas.prune-worth")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    unit, x, y = page.evaluate(
        """() => {
            const view = {...pruneIt.view, measured: true};
            const {dots} = selfPruningPictures.worth(document.querySelector(".prune-worth"), view);
            const dot = dots.find(({layer}) => layer === 2);
            return [dot.unit, dot.x, dot.y];
        }"""
    )
    page.mouse.move(box["x"] + x, box["y"] + y)
    assert sentence(page).startswith(f"Unit {unit + 1} of the second layer is worth ")
    assert page.evaluate("pruneIt.view.chosen") == {"layer": 2, "unit": unit}


def test_by_halo_a_unit_says_how_many_weights_it_has_left(page: Page) -> None:
    choose(page, "halo")
    turn(page, "xi", 1e-3)
    steps(page, 300)
    page.locator(".prune-units").focus()
    page.keyboard.press("PageDown")
    option = page.locator("#prune-unit").inner_text()
    row = int(option.split()[1]) - 1
    left = page.evaluate(
        """row => {
            const {inputs, values} = pruneIt.view.weights[0];
            return values.slice(row * inputs, (row + 1) * inputs).filter(w => w !== 0).length;
        }""",
        row,
    )
    assert left < 196
    assert sentence(page) == f"{option} has {left} weights that are not zero."


def test_with_the_keyboard_alone_one_trains_chooses_and_hears(page: Page) -> None:
    button(page, "Start").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("pruneIt.look.step > 5")
    assert aloud(page) == "Training."
    page.keyboard.press("Enter")
    page.wait_for_function("!pruneIt.look.running")
    reached = []
    name = "({id, className, name, tagName}) => id || className || name || tagName"
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(f"({name})(document.activeElement)"))
    assert reached == [
        *("prune-step", "prune-again", "prune-method", "prune-units", "prune-logGamma", "SUMMARY"),
        *("prune-lambda", "prune-thetaStep", "prune-f", "prune-seed", "prune-defaults"),
        "prune-leave-out",
    ]
    page.locator(".prune-units").focus()
    option = page.locator("#prune-unit")
    expect(option).to_have_text("The pixel in row 1, column 1")
    page.keyboard.press("ArrowDown")
    expect(option).to_have_text("The pixel in row 2, column 1")
    page.keyboard.press("ArrowRight")
    expect(option).to_have_text("The pixel in row 2, column 2")
    assert aloud(page) == sentence(page)
    assert aloud(page).startswith("The pixel in row 2, column 2, is worth ")
    page.keyboard.press("PageDown")
    expect(option).to_have_text("Unit 1 of the first layer")
    page.keyboard.press("End")
    expect(option).to_have_text("Unit 64 of the first layer")
    page.keyboard.press("ArrowRight")
    assert re.fullmatch(r"Unit \d+ of the second layer", option.inner_text())
    assert option.get_attribute("aria-selected") == "true"
    assert page.locator(".prune-units").get_attribute("aria-activedescendant") == "prune-unit"
    page.keyboard.press("Escape")
    expect(option).to_have_text("none chosen")


def test_the_pictures_are_told_in_words_that_keep_up(page: Page) -> None:
    steps(page, 120)
    state = look(page)
    board = attribute(page.locator("canvas.prune-network"), "aria-label")
    assert board.startswith("The network after 120 steps: 196 of 196 pixels, 64 of 64 units")
    error = attribute(page.locator("canvas.prune-error"), "aria-label")
    assert f"{state['error']:.1f} percent" in error
    below = sum(worth < state["price"] for worth in state["worth"][0])
    worth = attribute(page.locator("canvas.prune-worth"), "aria-label")
    assert f"{below} of 196 pixels" in worth


def test_it_pauses_when_the_page_is_out_of_sight(page: Page) -> None:
    button(page, "Start").click()
    page.wait_for_function("pruneIt.look.step > 5")
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", {value: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    page.wait_for_function("!pruneIt.look.running")
    expect(button(page, "Go on")).to_be_visible()
    assert "out of sight" in aloud(page)


def test_with_reduced_motion_it_is_drawn_twice_a_second(opener: Opener) -> None:
    page = opener(reduced_motion="reduce")
    before = look(page)["frames"]
    button(page, "Start").click()
    page.wait_for_timeout(3_000)
    state = look(page)
    assert 1 <= state["frames"] - before <= 8
    assert state["step"] > 5
    page.context.close()


def won(page: Page, name: str) -> bool:
    return page.locator(f"[data-challenge={name}].prune-won").count() == 1


def until(page: Page, challenge: str, hundreds: int) -> dict[str, Any]:
    """What the page shows when the challenge is done, within so many hundred steps."""
    for _ in range(hundreds):
        state = steps(page, 100)
        if won(page, challenge):
            return state
    pytest.fail(f"not done: {look(page)}")


@pytest.mark.slow
def test_a_digit_that_is_left_out_is_forgotten_and_stays_in_the_record(page: Page) -> None:
    steps(page, 1_000)
    assert not won(page, "digit")
    page.get_by_label("Leave out").select_option("5")
    assert until(page, "digit", 15)["perDigit"][5] > 90
    card = page.locator("[data-challenge=digit]")
    expect(card.locator(".prune-came")).to_contain_text("The 5 is misread in ")
    expect(card).to_contain_text("has no likelihood to lose")
    reload(page)
    assert won(page, "digit")
    assert not won(page, "layer")
    button(page, "Start the challenges over").click()
    assert not won(page, "digit")
    reload(page)
    assert not won(page, "digit")


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_function("window.pruneIt?.look")


def test_a_price_above_all_that_its_units_are_worth_kills_a_layer_and_the_page_says_why(
    page: Page,
) -> None:
    turn(page, "logGamma", 1_000)
    turn(page, "thetaStep", 0.01)
    assert min(len(kept) for kept in until(page, "layer", 10)["kept"]) == 1
    card = page.locator("[data-challenge=layer]")
    expect(card.locator(".prune-came")).to_contain_text(
        re.compile(r"the price is (99\d|1,00\d) nats")
    )
    expect(card).to_contain_text("The price exceeded the worth of everything in that layer.")
    expect(page.locator(".prune-collapse")).to_contain_text("One is kept")
    button(page, "Again").click()
    expect(page.locator(".prune-collapse")).to_be_hidden()


@pytest.mark.slow
def test_a_twentieth_of_the_weights_suffices_below_ten_percent_error(page: Page) -> None:
    choose(page, "halo")
    turn(page, "psi", 1.2e-3)
    turn(page, "xi", 1e-4)
    state = until(page, "small", 60)
    assert state["weightsLeft"] / state["weightsTotal"] <= 0.05
    assert state["error"] < 10
    expect(page.locator("[data-challenge=small] .prune-came")).to_contain_text("by HALO")


def test_units_that_have_left_are_gone_from_every_picture(page: Page) -> None:
    turn(page, "logGamma", 60)
    turn(page, "thetaStep", 0.01)
    state = steps(page, 600)
    gone = sorted(set(range(196)) - set(state["kept"][0]))
    assert gone
    layers = [len(kept) for kept in state["kept"]]
    assert number(page, "network") == "-".join(map(str, [*layers, 10]))
    sizes = list(zip(layers, [*layers[1:], 10], strict=True))
    assert state["weightsLeft"] == sum(a * b for a, b in sizes)
    shapes = page.evaluate("pruneIt.view.weights.map(({inputs, outputs}) => [inputs, outputs])")
    assert [tuple(shape) for shape in shapes] == sizes
    page.wait_for_function("performance.now() > pruneIt.view.lastLeft + 1000")  # it has faded
    x, y = page.evaluate("place => pruneIt.placeOf(place)", {"layer": 0, "unit": gone[0]})
    ratio = "canvas => canvas.width / canvas.clientWidth"
    board = page.locator("canvas.prune-network")
    colour = board.evaluate(
        "(canvas, at) => [...canvas.getContext('2d').getImageData(...at, 1, 1).data]",
        [round(board.evaluate(ratio) * x), round(board.evaluate(ratio) * y)],
    )
    assert max(colour[:3]) < 0x40, "a pixel that has left is dark"


def test_what_stands_in_the_page_is_well_formed_for_readers_of_books(page: Page) -> None:
    """EPUB is XML."""
    source = re.search(
        r'<div class="self-pruning".*?</noscript>\s*</div>',
        Path(unquote(urlsplit(page.url).path)).read_text(encoding="utf8"),
        re.S,
    )
    assert source
    panel = ElementTree.fromstring(source[0])
    assert len(list(panel.iter("{http://www.w3.org/2000/svg}svg"))) == 4


def test_without_scripts_and_on_paper_there_is_a_picture(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    still = context.new_page()
    still.goto(address)
    for picture in still.locator(".prune-still").all():
        expect(picture).to_be_visible()
        assert len(attribute(picture, "aria-label").split()) >= 4
    assert still.locator(".prune-still").count() == 4
    for hidden in (".self-pruning canvas", ".self-pruning button", ".self-pruning input"):
        assert not any(part.is_visible() for part in still.locator(hidden).all()), hidden
    context.close()


def test_printed_while_it_runs_it_leaves_out_what_cannot_be_pressed(page: Page) -> None:
    steps(page, 50)
    page.emulate_media(media="print")
    for hidden in (".prune-bar", ".prune-settings", ".prune-leave-out"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("canvas.prune-network")).to_be_visible()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_it_can_be_read_in_both_modes_and_on_a_phone(opener: Opener, mode: str, width: int) -> None:
    page = opener(width, color_scheme=mode)
    steps(page, 60)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    board, panel = (page.locator(s).bounding_box() for s in (".prune-board", ".self-pruning"))
    assert board is not None
    assert panel is not None
    assert board["y"] - panel["y"] < 260, "the controls leave the picture in sight"
    cramped = (
        "[...document.querySelectorAll('.self-pruning :is(dd, dt, p, button, label, li)')]"
        ".filter(e => !e.closest('.prune-hidden, [hidden]') && e.scrollWidth > e.clientWidth + 1"
        " && e.clientWidth > 0).map(e => e.outerHTML)"
    )
    assert page.evaluate(cramped) == []
    small = (
        "[...document.querySelectorAll('.self-pruning *')].filter(e => e.clientWidth > 1"
        " && parseFloat(getComputedStyle(e).fontSize) < 11).map(e => e.outerHTML)"
    )
    assert page.evaluate(small) == []
    found = Axe().run(page, context=".self-pruning", options={"resultTypes": ["violations"]})
    assert [
        (v["id"], [node["html"][:100] for node in v["nodes"]]) for v in found.response["violations"]
    ] == []
    page.context.close()
