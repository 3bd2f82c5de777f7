"""The built book in a real Chromium, with every outside host out of reach."""

import functools
import gzip
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route

ROOT = Path(__file__).parents[1]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
OUTSIDE = re.compile("^(?!file:|data:|blob:|about:)")
THEMES = {"light", "dark"}

pytestmark = pytest.mark.browser


def files_of(entry: dict[str, Any]) -> list[str]:
    """The documents of a table of contents, in reading order."""
    own = [entry[key] for key in ("root", "file") if key in entry]
    below = [part for key in ("parts", "chapters", "sections") for part in entry.get(key, [])]
    return own + [file for part in below for file in files_of(part)]


PAGES = [f"{file}.html" for file in files_of(TOC)]


class Look(NamedTuple):
    """What a loaded page looks like in one of the two themes."""

    too_wide: list[str]
    colours: dict[str, Any]


class Visit(NamedTuple):
    """A page that has finished loading and rendering, and what went wrong on the way."""

    page: Page
    width: int
    requests: set[str]
    outside_requests: list[str]
    errors: list[str]
    shifts: list[float]
    looks: dict[str, Look]


@pytest.fixture(
    scope="module",  # a page is loaded once for all the tests of a window
    params=itertools.product(PAGES, [("light", 1280), ("dark", 390)]),
    ids=lambda param: f"{param[0]}-{param[1][1]}",
)
def visit(request: pytest.FixtureRequest, browser: Browser, book_html: Path) -> Iterator[Visit]:
    """Each page, loaded light in a wide window and dark in that of a phone, then turned around."""
    name, (loaded_as, width) = request.param
    context = browser.new_context(viewport={"width": width, "height": 900})
    context.add_init_script(f"localStorage.mode = localStorage.theme = '{loaded_as}'")
    context.add_init_script(WATCH_SHIFTS)
    page = context.new_page()
    requests: set[str] = set()
    outside: list[str] = []
    errors: list[str] = []

    def refuse(route: Route) -> None:
        outside.append(route.request.url)
        route.abort()

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    context.route(OUTSIDE, refuse)
    context.route_web_socket("**/*", lambda socket: outside.append(socket.url))
    page.on("request", lambda request: requests.add(request.url))
    page.on("console", listen)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((book_html / name).as_uri(), wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.evaluate(LOAD_IMAGES)
    shifts = page.evaluate(SHIFTS)
    looks = {}
    for theme in (loaded_as, *(THEMES - {loaded_as})):
        turn_to(page, theme)
        looks[theme] = Look(page.evaluate(TOO_WIDE), page.evaluate(COLOURS))
    yield Visit(page, width, requests, outside, errors, shifts, looks)
    context.close()


def turn_to(page: Page, theme: str) -> None:
    """By the page's own button, which goes through light, dark and the system's."""
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.mode") == theme:
            break
        page.evaluate("document.querySelector('.theme-switch-button').click()")
    page.evaluate("() => Promise.allSettled(document.getAnimations().map(a => a.finished))")


WATCH_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(e => e.value)))
        .observe({type: "layout-shift", buffered: true});
"""

# They are told after the frame in which they are drawn.
SHIFTS = """() => new Promise(
    done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))
).then(() => window.shifts)"""

LOAD_IMAGES = """() => Promise.all(Array.from(document.images, image => {
    image.loading = "eager";
    return image.decode().catch(() => null);
}))"""

# Addresses that a page would fetch by itself; a link that a reader may click is not one of them.
FETCHED = """() => Array.from(
    document.querySelectorAll("[src], link[href]:not([rel~=canonical])"), e => e.src || e.href
).filter(url => /^(https?|wss?):/.test(url))"""

# A macro that MathJax does not know is no error to it: it sets the macro's name in red. Text that
# still looks like TeX was not recognised as mathematics at all.
MATHS = """() => {
    const short = e => e.textContent.trim().slice(0, 80);
    const all = selector => Array.from(document.querySelectorAll(selector));
    const isSet = e => e.querySelector("mjx-container > svg")?.viewBox.baseVal.width > 0;
    const wrong = "mjx-merror, [data-mjx-error], [data-mml-node=merror], mjx-container [fill=red]";
    return {
        unset: all("article .math").filter(e => !isSet(e)).map(short),
        wrong: all(wrong).map(e => short(e.closest(".math") ?? e)),
        raw: all("article :is(p, li, td, th, h1, h2, h3, dd, figcaption)").filter(e => {
            const copy = e.cloneNode(true);
            copy.querySelectorAll(".math, code, pre").forEach(part => part.remove());
            return /\\$[^$]*\\$|\\\\[([a-zA-Z]/.test(copy.textContent);
        }).map(short),
    };
}"""

IMAGES = """() => Array.from(document.querySelectorAll("article img"), image => ({
    source: image.getAttribute("src").slice(0, 80), alt: image.alt, width: image.naturalWidth,
}))"""

# What sticks out to the right, unless something around it scrolls or clips it.
TOO_WIDE = """() => {
    const limit = document.documentElement.clientWidth;
    const held = e => e && e !== document.body
        && (getComputedStyle(e).overflowX !== "visible" || held(e.parentElement));
    const out = Array.from(document.querySelectorAll("article *"))
        .filter(e => e.getBoundingClientRect().right > limit + 1 && !held(e.parentElement)
            && getComputedStyle(e).overflowX === "visible")
        .map(e => e.outerHTML.slice(0, 80));
    const scrolls = document.documentElement.scrollWidth - limit;
    return scrolls > 0 ? [`the page scrolls by ${scrolls} pixels`, ...out] : out;
}"""

COLOURS = """() => {
    const parse = colour => colour.match(/[\\d.]+/g).map(Number);
    const luminance = colour => parse(colour).slice(0, 3)
        .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    return {
        theme: document.documentElement.dataset.theme,
        ground: luminance(getComputedStyle(document.body).backgroundColor),
        ink: luminance(getComputedStyle(document.querySelector("article p")).color),
    };
}"""


# What axe looks at one by one and finds the same: the inside of formulas, and after the third of
# its class, every coloured word of code, which becomes plain text.
THIN_OUT = """() => {
    document.querySelectorAll("mjx-container > svg").forEach(drawing => drawing.replaceChildren());
    const seen = {};
    document.querySelectorAll(":is(pre, code, dt.sig) :is(span, em)").forEach(word => {
        seen[word.className] = (seen[word.className] ?? 0) + 1;
        if (seen[word.className] > 3) word.replaceWith(word.textContent);
    });
}"""

# Of axe-core by width and theme: all of them once; beyond, what may differ with either.
AUDITS: dict[int, dict[str, dict[str, list[str]]]] = {
    1280: {"dark": {"runOnly": ["color-contrast"]}, "light": {}},
    390: {"light": {"runOnly": ["scrollable-region-focusable", "meta-viewport"]}},
}


def test_a_page_needs_no_outside_host_and_logs_no_error(visit: Visit) -> None:
    assert visit.outside_requests == []
    assert visit.page.evaluate(FETCHED) == []
    assert visit.errors == []


def test_all_mathematics_is_set(visit: Visit) -> None:
    assert visit.page.evaluate(MATHS) == {"unset": [], "wrong": [], "raw": []}


def test_every_image_loads_and_says_what_it_shows(visit: Visit) -> None:
    for image in visit.page.evaluate(IMAGES):
        assert image["width"] > 0, f"{image['source']} does not load"
        assert len(image["alt"].split()) >= 4, f"{image['source']}: alt text {image['alt']!r}"
        assert "_images/" not in image["alt"], f"{image['source']} is described by its file name"


@pytest.mark.parametrize("theme", sorted(THEMES))
def test_a_page_fits_its_window(visit: Visit, theme: str) -> None:
    assert visit.looks[theme].too_wide == []


@functools.cache  # the pages share most of it
def compressed_size(file: Path) -> int:
    return len(gzip.compress(file.read_bytes()))


def test_a_page_is_light(visit: Visit, book_html: Path) -> None:
    """Compressed, 2 MB with all that the pages share, which a reader loads once; 300 kB without."""
    files = {Path(unquote(urlsplit(url).path)) for url in visit.requests if url.startswith("file:")}
    sizes = {file: compressed_size(file) for file in files}
    own = sum(size for file, size in sizes.items() if book_html / "_static" not in file.parents)
    assert sum(sizes.values()) <= 2_000_000
    assert own <= 300_000


def test_nothing_jumps_while_a_page_loads(visit: Visit) -> None:
    """Cumulative layout shift, of which 0.1 is called good."""
    assert sum(visit.shifts) < 0.1


@pytest.mark.parametrize("theme", sorted(THEMES))
def test_light_is_light_and_dark_is_dark(visit: Visit, theme: str) -> None:
    colours = visit.looks[theme].colours
    assert colours["theme"] == theme
    assert (colours["ground"] > 0.8) if theme == "light" else (colours["ground"] < 0.05)
    dark, light = sorted((colours["ground"], colours["ink"]))
    assert (light + 0.05) / (dark + 0.05) > 7, "text and ground are too alike"


def test_nobody_is_shut_out(visit: Visit) -> None:
    """Axe-core finds nothing that it calls serious or critical, and no heading level skipped.

    The last test of a page: it takes away thousands of elements that are like others.
    """
    visit.page.evaluate(THIN_OUT)
    found = []
    for theme, rules in AUDITS[visit.width].items():
        turn_to(visit.page, theme)
        audit = Axe().run(
            visit.page,
            context={"exclude": [["mjx-container"]]},
            options={"resultTypes": ["violations"], **rules},
        )
        found += [
            (theme, violation["id"], node["html"][:120])
            for violation in audit.response["violations"]
            if violation["impact"] in {"serious", "critical"} or violation["id"] == "heading-order"
            for node in violation["nodes"]
        ]
    assert found == []
