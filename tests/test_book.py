"""The built book in a real Chromium, with every outside host out of reach."""

import functools
import gzip
import itertools
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
NO_NETWORK = ("file:", "data:", "blob:", "about:")

pytestmark = pytest.mark.browser


def files_of(entry: dict[str, Any]) -> list[str]:
    """The documents of a table of contents, in reading order."""
    own = [entry[key] for key in ("root", "file") if key in entry]
    below = [part for key in ("parts", "chapters", "sections") for part in entry.get(key, [])]
    return own + [file for part in below for file in files_of(part)]


PAGES = [f"{file}.html" for file in files_of(TOC)]


class Visit(NamedTuple):
    """A page that has finished loading and rendering, and what went wrong on the way."""

    page: Page
    mode: str
    requests: set[str]
    outside_requests: list[str]
    errors: list[str]


@pytest.fixture(
    scope="module",  # a page is loaded once for all the tests
    params=itertools.product(PAGES, ["light", "dark"], [1280, 390]),
    ids=lambda param: "-".join(map(str, param)),
)
def visit(request: pytest.FixtureRequest, browser: Browser, book_html: Path) -> Iterator[Visit]:
    name, mode, width = request.param
    context = browser.new_context(viewport={"width": width, "height": 900})
    context.add_init_script(f"localStorage.mode = localStorage.theme = '{mode}'")
    context.add_init_script(WATCH_SHIFTS)
    page = context.new_page()
    requests: set[str] = set()
    outside: list[str] = []
    errors: list[str] = []

    def guard(route: Route) -> None:
        requests.add(route.request.url)
        if route.request.url.startswith(NO_NETWORK):
            route.continue_()
        else:
            outside.append(route.request.url)
            route.abort()

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    context.route("**/*", guard)
    context.route_web_socket("**/*", lambda socket: outside.append(socket.url))
    page.on("console", listen)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((book_html / name).as_uri(), wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.evaluate(LOAD_IMAGES)
    yield Visit(page, mode, requests, outside, errors)
    context.close()


WATCH_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(e => e.value)))
        .observe({type: "layout-shift", buffered: true});
"""

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

# Of axe-core: all of them once; where mode and width differ, what may differ with them.
NARROW = {"runOnly": ["scrollable-region-focusable", "meta-viewport"]}
RULES: dict[tuple[str, int], dict[str, list[str]]] = {
    ("light", 1280): {},
    ("dark", 1280): {"runOnly": ["color-contrast"]},
    ("light", 390): NARROW,
    ("dark", 390): NARROW,
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


def test_a_page_fits_its_window(visit: Visit) -> None:
    assert visit.page.evaluate(TOO_WIDE) == []


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
    assert sum(visit.page.evaluate("window.shifts")) < 0.1


def test_light_is_light_and_dark_is_dark(visit: Visit) -> None:
    colours = visit.page.evaluate(COLOURS)
    assert colours["theme"] == visit.mode
    assert (colours["ground"] > 0.8) if visit.mode == "light" else (colours["ground"] < 0.05)
    dark, light = sorted((colours["ground"], colours["ink"]))
    assert (light + 0.05) / (dark + 0.05) > 7, "text and ground are too alike"


def test_nobody_is_shut_out(visit: Visit) -> None:
    """Axe-core finds nothing that it calls serious or critical, and no heading level skipped.

    The last test of a page: it takes away thousands of elements that are like others.
    """
    visit.page.evaluate(THIN_OUT)
    found = Axe().run(
        visit.page,
        context={"exclude": [["mjx-container"]]},
        options={
            "resultTypes": ["violations"],
            **RULES[visit.mode, visit.page.evaluate("innerWidth")],
        },
    )
    serious = [
        violation
        for violation in found.response["violations"]
        if violation["impact"] in {"serious", "critical"} or violation["id"] == "heading-order"
    ]
    assert [(v["id"], node["html"][:120]) for v in serious for node in v["nodes"]] == []
