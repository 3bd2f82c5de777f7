"""The explorers: what they compute and show, in the built book's pages in a real Chromium."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page
from scipy import stats
from shown_explorers import DRAWING, PAGES, PLACES, Shown, open_page

from pruning_core.baselines.penalties import Bridge, Lasso, Ridge
from pruning_core.baselines.sparsity_priors import Count
from pruning_core.explorers import joint, trained
from pruning_core.explorers.chart import MIME
from pruning_core.explorers.unit import STARTS
from pruning_core.halo import bridge_scale, bridge_shrink, bridge_threshold
from pruning_core.hyperprior import Fixed, Flattening, beta_of_price, resting_theta
from pruning_core.studies.archive import Archive
from pruning_core.studies.masks import load_masks
from pruning_core.studies.published import load_published
from pruning_core.studies.tables import epochs, runs, setting
from pruning_core.theory.dynamics import Bounds, OneUnit
from pruning_core.theory.single_weight import joint_path

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(browser: Browser, book_html: Path) -> Iterator[Callable[[str], Page]]:
    """Each page, opened once."""
    opened: dict[str, Page] = {}

    def page(name: str) -> Page:
        if name not in opened:
            opened[name] = browser.new_page(viewport={"width": 1280, "height": 900})
            open_page(opened[name], book_html, name)
            while (skip := opened[name].locator(".predict .skip")).count():
                skip.first.click()
        return opened[name]

    yield page
    for one in opened.values():
        one.close()


@pytest.fixture(params=PLACES)
def shown(request: pytest.FixtureRequest, pages: Callable[[str], Page]) -> Shown:
    """Each of the explorers."""
    page, place = PLACES[request.param]
    return Shown(pages(page), place)


@pytest.fixture
def explorer(pages: Callable[[str], Page]) -> Callable[[str], Shown]:
    """One of them, by name."""
    return lambda name: Shown(pages(PLACES[name][0]), PLACES[name][1])


def outputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """The notebook and the data of every explorer that is stored."""
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                if MIME in output.get("data", {}):
                    yield path.stem, output["data"]


def test_every_explorer_of_the_notebooks_is_tested_here() -> None:
    found = [name for name, _ in outputs()]
    assert sorted(found) == sorted(page for page, _ in PLACES.values())


def test_a_notebook_stores_the_specification_once_and_a_picture() -> None:
    for name, data in outputs():
        assert set(data) == {MIME, "image/png", "text/plain"}, name
        assert "http" not in json.dumps(data[MIME]).replace(data[MIME]["$schema"], ""), name


# --- controls ---


def test_every_control_is_turned_by_the_keyboard_and_changes_the_picture(shown: Shown) -> None:
    controls = shown.element.locator(".controls :is(input, select)")
    assert controls.count() or shown.element.evaluate("e => e.view.signal('price')")
    for index in range(controls.count()):
        control = controls.nth(index)
        if control.evaluate(
            "c => c.options?.length === 1 || (c.max === '0' && c.type === 'range')"
        ):
            continue  # what is recorded leaves no choice yet
        control.scroll_into_view_if_needed()
        control.focus()
        before, text = shown.picture(), shown.element.locator(".readout").inner_text()
        kind = control.evaluate("control => control.type")
        forth, back = ("Space", "Space") if kind == "checkbox" else ("ArrowRight", "ArrowLeft")
        if control.evaluate("control => control.value === control.max"):
            forth, back = back, forth
        shown.page.keyboard.press(forth)
        changed = """([element, before]) =>
            element.querySelector(".chart svg:not(.ghost)").innerHTML !== before"""
        handle = shown.element.element_handle()
        shown.page.wait_for_function(changed, arg=[handle, before], timeout=5000)
        shown.page.keyboard.press(back)
        shown.page.wait_for_function(
            "([e, text]) => e.querySelector('.readout').innerText === text", arg=[handle, text]
        )


def test_every_control_has_a_name_and_says_its_value(shown: Shown) -> None:
    for control in shown.element.locator(".controls :is(input, select)").all():
        name = control.evaluate("control => control.labels[0].textContent")
        assert len(name) >= 3
        if control.get_attribute("type") == "range":
            assert control.get_attribute("aria-valuetext")


def test_what_is_drawn_fits_and_has_a_description(shown: Shown) -> None:
    chart = shown.element.locator(".chart")
    assert len((chart.get_attribute("aria-label") or "").split()) >= 4
    box, room = shown.element.locator(DRAWING).bounding_box(), shown.element.bounding_box()
    assert box is not None
    assert room is not None
    assert 300 <= box["width"] <= room["width"]


def test_without_scripts_and_in_print_there_is_a_picture_and_no_dead_slider(
    browser: Browser, book_html: Path
) -> None:
    for name in PAGES:
        address = (book_html / "book" / f"{name}.html").as_uri()
        plain = browser.new_context(java_script_enabled=False).new_page()
        plain.goto(address)
        for picture in plain.locator(".explorer").all():
            assert picture.locator("img").is_visible()
            assert picture.locator("input, select").count() == 0
        plain.context.close()
        printed = browser.new_page()
        printed.goto(address)
        printed.wait_for_selector(".explorer.live")
        printed.emulate_media(media="print")
        for dead in printed.locator(":is(.of-the-page, .predict, .cover, .ghost)").all():
            assert not dead.is_visible()
        for drawn in printed.locator(".explorer.live").all():
            assert drawn.locator("svg").is_visible()
            assert drawn.locator(".readout").is_visible()
            for control in drawn.locator("input, select").all():
                assert not control.is_visible()
            for value in drawn.locator(".value").all():
                assert value.is_visible()
                assert value.inner_text()
        printed.close()


def test_only_pages_with_an_explorer_load_the_drawing_library(book_html: Path) -> None:
    loading = {
        path.stem
        for path in (book_html / "book").glob("*.html")
        if "_static/explorers.js" in path.read_text(encoding="utf8")
    }
    assert loading == set(PAGES)


# --- closed forms ---


def same(found: torch.Tensor, expected: torch.Tensor, within: float = 1e-6) -> None:
    assert len(found) > 10
    torch.testing.assert_close(found, expected.double(), rtol=within, atol=within)


@pytest.mark.parametrize("price", [0.5, 1.0, 4.0, 7.5, 12.0])
def test_hyper_priors_are_those_of_the_package(
    explorer: Callable[[str], Shown], price: float
) -> None:
    shown = explorer("hyper_prior")
    shown.turn(price=price)
    fixed = Fixed(1 / (1 + np.exp(price)))
    priors = {"flattening": Flattening(price), "fixed": fixed, "Beta": beta_of_price(price)}
    for name, prior in priors.items():
        theta = shown.column("theta", "on", "off", series=name)
        same(shown.column("value", "on", "off", series=name), prior.cost(theta))
        worth = shown.column("worth", series=name)
        decided = (worth - price).abs() > 1e-9
        rest = resting_theta(prior, worth)
        same(shown.column("value", "worth", series=name)[decided], rest[decided], 1e-5)
    for name in ("flattening", "Beta"):
        pi = shown.column("pi", "log10_pi", series=name)
        density = priors[name].log_density(pi).exp()
        same(shown.column("value", "log10_pi", series=name), density)


def test_the_axes_of_the_hyper_priors_stand_still(explorer: Callable[[str], Shown]) -> None:
    shown = explorer("hyper_prior")
    labels = f"e => [...e.querySelectorAll('{DRAWING} .role-axis text')].map(t => t.textContent)"
    found = []
    for price in (0.5, 4, 12):
        shown.turn(price=price)
        found.append(shown.element.evaluate(labels))
    assert len(found[0]) > 30
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("log_gamma", "decay", "kappa", "eta"),
    [(0.5, 0.3, 1.0, 1.0), (0.3, 0.0, 1.4, 2.0), (1.0, 0.6, 0.8, 0.6), (1.5, 1.0, 1.0, 1.0)],
)
def test_regions_and_trajectories_are_those_of_the_package(
    explorer: Callable[[str], Shown], log_gamma: float, decay: float, kappa: float, eta: float
) -> None:
    shown = explorer("life_of_a_unit")
    shown.turn(logGamma=log_gamma, decay=decay, kappa=kappa, eta=eta)
    bounds = Bounds(log_gamma, kappa, decay, eta)
    (box,) = shown.rows("right", "top")
    assert box["right"] == pytest.approx(min(1, bounds.saddle[0]))
    assert box["top"] == pytest.approx(min(1.5, bounds.saddle[1]))
    for edge in shown.rows("theta", "norm", "triangle"):
        theta, norm = edge["theta"], edge["norm"]
        assert not bounds.in_region(theta, norm + 1e-6)
        assert norm == 0 or bounds.in_region(theta, norm - 1e-6)
        assert bounds.in_triangle(theta, edge["triangle"] - 1e-6)
        assert not bounds.in_triangle(theta, edge["triangle"] + 1e-6)
    rows = shown.rows(
        "start", "theta0", "norm0", "step", "time", "outside", "theta", "norm", "fate"
    )
    unit = OneUnit(bounds)
    final = unit.integrate(*np.array(STARTS).T, duration=60, steps=12_000)[0][-1]
    for start in range(len(STARTS)):
        path = [row for row in rows if row["start"] == start]
        theta0, norm0, fate = path[0]["theta0"], path[0]["norm0"], path[0]["fate"]
        free = max((row for row in path if not row["outside"]), key=lambda row: row["step"])
        thetas, norms = unit.integrate(theta0, norm0, free["time"] or 1e-9, steps=2000)
        found = (free["theta"], free["norm"])
        assert found == pytest.approx((float(thetas[-1, 0]), float(norms[-1, 0])), abs=1e-5)
        assert fate == ("dies" if final[start] == 0 else "survives")
        # Where it meets the edge, and where that leads.
        *_, meets, ends = sorted(path, key=lambda row: row["step"])
        assert meets["theta"] == ends["theta"] == float(ends["theta"] > 0.5)


@pytest.mark.parametrize(("xi", "psi"), [(0.19, 0.19), (0.012, 0.76), (1.2, 0.3)])
def test_penalties_and_rules_are_those_of_the_package(
    explorer: Callable[[str], Shown], xi: float, psi: float
) -> None:
    shown = explorer("penalties")
    shown.turn(xi=xi, psi=psi)
    scale = bridge_scale(xi, psi)
    threshold, jump = bridge_threshold(scale)
    z = shown.column("z", "step", part=1)
    w = shown.column("value", "z", "step", part=1)
    assert float(w[0]) == pytest.approx(jump)
    assert float(z[0]) == pytest.approx(threshold)
    same(w[1:], bridge_shrink(z[1:], scale))
    same(shown.column("z", "step", part=0), torch.linspace(0, threshold, 20))
    prices = {
        "HALO": Bridge(scale),
        "lasso": Lasso(threshold),
        "ridge": Ridge(0.3),
        "hard": Count(threshold**2 / 2),
    }
    assert {row["series"] for row in shown.rows("series", "value")} == set(prices)
    for name, penalty in prices.items():
        weights = shown.column("w", "value", series=name)
        same(shown.column("value", "w", series=name), penalty.values([weights])[0])
        if name != "HALO":
            values = shown.column("z", "value", "part", series=name)
            clear = (values - threshold).abs() > 1e-6
            rule = shown.column("value", "z", "part", series=name)
            same(rule[clear], penalty.thresholded(values)[clear])


@pytest.mark.parametrize(
    ("psi", "ratio", "z"), [(0.6, 1, 0.9), (0.6, 10, 0.9), (0.19, 0.1, 0.6), (0.06, 3, 1.5)]
)
def test_joint_descent_is_that_of_the_package(
    explorer: Callable[[str], Shown], psi: float, ratio: float, z: float
) -> None:
    shown = explorer("joint_descent")
    shown.turn(psi=psi, ratio=ratio, z=z)
    target = torch.full((len(joint.STARTS),), float(z))
    weight, coefficient = torch.tensor(joint.STARTS).T
    settings = (target, weight, coefficient, joint.XI, psi)
    w, c = joint_path(*settings, step=joint.STEP, steps=joint.STEPS, ratio=ratio)
    rows = shown.rows("w", "coefficient", "step", "start", "last", "fate", "path")
    survivors = 0
    for start in range(len(joint.STARTS)):
        drawn = {
            row["step"]: (row["w"], row["coefficient"]) for row in rows if row["start"] == start
        }
        fate = {row["fate"] for row in rows if row["start"] == start}
        exact = torch.stack([w[:, start], c[:, start]], 1).numpy()
        places = np.array([drawn[step] for step in sorted(drawn)])
        # Each drawn point is one of the recursion's, up to the rounding to two digits,
        distance = np.abs(places[:, None] - exact[None]).max(2)
        assert distance.min(1).max() < 1e-3
        assert places[[0, -1]] == pytest.approx(exact[[0, -1]], abs=1e-3)
        # and between two of them the recursion stays near the line that is drawn.
        kept = distance.argmin(1)
        assert (np.diff(kept) > 0).all()
        for k, (first, last) in enumerate(pairwise(kept)):
            piece, along = exact[first : last + 1] - places[k], places[k + 1] - places[k]
            share = np.clip(piece @ along / (along @ along), 0, 1)
            assert np.linalg.norm(piece - share[:, None] * along, axis=1).max() < 5e-3
        assert fate == {joint.FATES[int(w[-1, start] != 0)]}
        survivors += int(w[-1, start] != 0)
    assert f"{survivors} of the 6 weights" in shown.readout()
    best = shown.column("coefficient", "w")
    assert len(best) > 100


# --- recorded results ---


def test_theta_in_motion_is_what_was_noted_after_each_epoch(
    explorer: Callable[[str], Shown],
) -> None:
    shown = explorer("theta_in_motion")
    noted = epochs(ARCHIVE, "lenet-300-100")
    runs_with_pixels = trained.gated_runs(ARCHIVE)
    for price, seed, gate in ((28, 0, 0), (56, 1, 1), (110, 1, 2)):
        shown.turn(price=price, seed=seed, layer=trained.LAYERS[gate])
        known = runs_with_pixels.query(f"log_gamma == {price} and seed == {seed}")
        run = noted.loc[noted["run"] == known["run"].item()].set_index("epoch")
        errors = {row["epoch"]: row["error"] for row in shown.rows("epoch", "error")}
        assert max(errors) == run.index.max()
        low, high = shown.element.evaluate("e => e.view.scale('concat_2_y').domain()")
        assert low < min(errors.values())
        assert high > max(errors.values())  # a network that nearly dies is not cut off
        settled = {row["epoch"] for row in shown.rows("epoch", "data")}
        assert settled == {setting(known, "bernoulli_epochs").item()}
        for epoch, error in errors.items():
            assert error == pytest.approx(run.loc[epoch, "test_error_percent"], abs=0.006)
        for row in shown.rows("epoch", "left", "size0"):
            assert row["left"] == run.loc[row["epoch"], "architecture"][gate]
        units: dict[int, int] = {}
        for row in shown.rows("epoch", "bin", "units", "counts"):
            histogram = json.loads(run.loc[row["epoch"], "theta"])[f"gate{gate}"]["histogram"]
            assert row["units"] == sum(histogram[2 * row["bin"] : 2 * row["bin"] + 2])
            units[row["epoch"]] = units.get(row["epoch"], 0) + row["units"]
        assert len(units) > 10
        # Every unit that was left is in a block.
        for epoch, count in units.items():
            assert count == run.loc[epoch, "architecture"][gate]


@pytest.mark.parametrize(
    ("study", "point", "network", "start", "before"),
    [
        ("layers", "from-20", "perceptron on MNIST, 300 nats", 20, 2),
        ("layers", "from-6-dearer", "perceptron on MNIST, 600 nats", 6, 2),
        ("layers-cnn", "from-10", "CNN on MNIST, 1000 nats", 10, 1),
    ],
)
def test_sections_in_motion_are_what_was_noted_after_each_epoch(
    explorer: Callable[[str], Shown], study: str, point: str, network: str, start: int, before: int
) -> None:
    shown = explorer("sections_in_motion")
    shown.element.locator("select").first.select_option(label=network)
    shown.turn(start=start, seed=1)
    noted = epochs(ARCHIVE, study).query(f"point == '{point}' and seed == 1").set_index("epoch")
    final = runs(ARCHIVE, study).query(f"point == '{point}' and seed == 1").iloc[0]
    left = {row["epoch"]: row["left"] for row in shown.rows("epoch", "left", "error")}
    assert list(left) == list(noted.index)
    drawn: dict[int, dict[int, float]] = {epoch: {} for epoch in left}
    for row in shown.rows("epoch", "section", "theta", "begin"):
        drawn[row["epoch"]][row["section"]] = row["theta"]
    for epoch in left:
        there = [size > 0 for size in noted.at[epoch, "architecture"][before:]]
        assert len(there) == start
        assert left[epoch] == sum(there)
        theta = json.loads(str(noted.at[epoch, "theta"]))
        expected = {
            number: theta[gate]["mean"] if (gate := f"sections.{number - 1}.gate") in theta else 1.0
            for number, is_there in enumerate(there, start=1)
            if is_there
        }
        shown_anyway = {number for number, value in expected.items() if value >= 0.005}
        assert shown_anyway <= set(drawn[epoch]) <= set(expected)
        for number, value in drawn[epoch].items():
            assert value == pytest.approx(expected[number], abs=0.006)
    last = f"{final['sections_left']:.0f} are left, the final test error is"
    assert f"{last} {final['test_error_percent']:.2f} %" in shown.readout()


def test_the_pixels_are_those_of_the_recorded_masks(explorer: Callable[[str], Shown]) -> None:
    shown = explorer("which_pixels")
    masks, known = load_masks(ARCHIVE), trained.gated_runs(ARCHIVE)
    for price, group in known.groupby("log_gamma"):
        shown.turn(price=price)
        counts = np.sum([masks[run] for run in group["run"] if run in masks], axis=0)
        rows = shown.rows("pixel", "seeds", "share", "n", "left", "top")
        drawn = {row["pixel"]: row["seeds"] for row in rows}
        assert drawn == {pixel: count for pixel, count in enumerate(counts.tolist()) if count}
        for row in rows:
            assert (row["top"], row["left"]) == divmod(row["pixel"], 28)
            assert row["share"] == pytest.approx(row["seeds"] / row["n"])


@pytest.mark.parametrize("model", ["lenet-300-100", "lenet-5"])
def test_sizes_and_errors_are_those_of_results_and_of_all_published_rows(
    explorer: Callable[[str], Shown], model: str
) -> None:
    shown = explorer(f"size_of_{model.replace('-', '_')}")
    published = load_published(ARCHIVE).query(f"model == {model!r} and kind == 'structured'")
    rows = shown.rows("kind", "size", "error", "label")
    kinds = ("published", "published, as recalled")
    theirs = {(row["label"], row["size"], row["error"]) for row in rows if row["kind"] in kinds}
    columns = ["method", "weights_percent", "error_percent"]
    assert theirs == set(published[columns].itertuples(index=False, name=None))
    known = runs(ARCHIVE, model)
    settings = [json.loads(text) for text in known["settings"]]
    known = known.assign(price=[s["log_gamma"][0] for s in settings])
    complete = known.groupby("point").filter(lambda group: len(group) >= 10)
    for price, group in complete.groupby("price"):
        shown.turn(price=price, intervals=True)
        found = {
            (row["size"], row["error"])
            for row in shown.rows("kind", "size", "error", "price")
            if row["price"] == price
        }
        means = [
            (point["weights_percent"].mean(), point["test_error_percent"].mean())
            for _, point in group.groupby("point")
        ]
        assert found == {(round(size, 3), round(error, 3)) for size, error in means}
        text = shown.readout()
        for _, error in means:
            assert f"{error:.2f} % [" in text


@pytest.mark.parametrize("model", ["lenet-300-100", "lenet-5"])
def test_the_interval_is_shown_on_demand_and_is_students(
    explorer: Callable[[str], Shown], model: str
) -> None:
    shown = explorer(f"zeros_of_{model.replace('-', '_')}")
    known = runs(ARCHIVE, f"halo-{model}")
    shown.turn(share=98, intervals=False)
    assert shown.element.evaluate(RULES) == 0
    shown.turn(intervals=True)
    assert shown.element.evaluate(RULES) > 5
    for row in shown.rows("series", "zeros", "error", "low", "high"):
        if not row["series"]:
            continue
        errors = known.loc[known["point"] == row["series"], f"error_at_{row['zeros']:g}"].dropna()
        low, high = stats.t.interval(0.95, len(errors) - 1, errors.mean(), stats.sem(errors))
        found = (row["error"], row["low"], row["high"])
        assert found == pytest.approx((errors.mean(), low, high), abs=6e-4)


RULES = """element => {
    let rules = 0;
    const search = item => {
        if (item.marktype === "rule" && item.role === "mark") rules += item.items.length;
        (item.items || []).forEach(search);
    };
    search(element.view.scenegraph().root);
    return rules;
}"""


def test_every_recorded_seed_of_every_start_is_shown(explorer: Callable[[str], Shown]) -> None:
    shown = explorer("starts")
    known = runs(ARCHIVE, "robustness")
    measures = ["test_error_percent", "pixels", "first", "second"]
    rows = shown.rows("label", *measures)
    for start, group in known.groupby("point"):
        shown.turn(start=start)
        label = f"{start}, n = {len(group)}"
        assert shown.readout().startswith(label)
        drawn = Counter(tuple(row[m] for m in measures) for row in rows if row["label"] == label)
        sizes = [tuple(map(int, text.split("-"))) for text in group["architecture"]]
        seeds = zip(group["test_error_percent"].round(3), sizes, strict=True)
        expected = Counter((error, *size) for error, size in seeds)
        # Once in the panel of each measure.
        assert drawn == {seed: len(measures) * count for seed, count in expected.items()}


def test_the_mean_of_every_start_has_students_interval(explorer: Callable[[str], Shown]) -> None:
    known = runs(ARCHIVE, "robustness")
    rows = explorer("starts").rows("label", "mean", "low", "high")
    for start, group in known.groupby("point"):
        sizes = np.array([text.split("-") for text in group["architecture"]], dtype=float)
        samples = [group["test_error_percent"].to_numpy(), *sizes.T]
        drawn = {
            (row["mean"], row["low"], row["high"])
            for row in rows
            if row["label"] == f"{start}, n = {len(group)}"
        }
        assert len(drawn) == len(samples)
        for mean, low, high in drawn:
            assert any(
                (mean, low, high) == pytest.approx(_students(sample), abs=6e-4)
                for sample in samples
            )


def _students(sample: np.ndarray) -> tuple[float, float, float]:
    mean, error = sample.mean(), stats.sem(sample)
    return (mean, *stats.t.interval(0.95, len(sample) - 1, mean, error))
