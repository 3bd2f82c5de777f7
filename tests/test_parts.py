"""The pictures of the book's parts: what they are drawn from, and the page with them."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from bs4 import BeautifulSoup
from scratch_book import ROOT, ScratchBook

from pruning_core.studies.archive import Archive
from pruning_core.studies.masks import load_masks
from pruning_core.studies.tables import at, runs

ARCHIVE = Archive(ROOT)
NAMES = ["ideas", "bernoulli", "halo", "reproduction", "yours"]


@pytest.fixture(scope="module")
def parts() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    yield importlib.import_module("parts")
    sys.path.pop(0)


def test_a_part_is_a_picture_with_an_alternative_text_beside_its_paragraph(tmp_path: Path) -> None:
    text = "\n\n".join(f"```{{part}} {name}\nOn *{name}*.\n```" for name in NAMES)
    book = ScratchBook(tmp_path, ["parts"], {"page": f"# Parts\n\n{text}\n"})
    found = BeautifulSoup(book.page("page"), "html.parser").select(".book-part")
    assert [part.get_text(strip=True) for part in found] == [f"On{name}." for name in NAMES]
    for part in found:
        (picture,) = part.select("svg[role=img]")
        assert len(str(picture["aria-label"]).split()) >= 8


def test_a_part_without_a_picture_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no picture 'magic'; expected ideas, bernoulli"):
        ScratchBook(tmp_path, ["parts"], {"page": "# Parts\n\n```{part} magic\nText.\n```\n"})


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_well_formed_and_stay_in_their_frame(parts: ModuleType, name: str) -> None:
    """E-books take no other; and nothing may stick out of 120 × 84."""
    _, draw = parts.PICTURES[name]
    drawing = ElementTree.fromstring(f"<svg>{draw()}</svg>")
    assert len(drawing) > 1
    for path in drawing.iter("path"):
        for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path.get("d", "")):
            assert 0 <= float(x) <= 120
            assert 0 <= float(y) <= 84


def test_the_pixels_are_those_of_ten_recorded_networks(parts: ModuleType) -> None:
    """The stronger, the more of them read it."""
    rows = runs(ARCHIVE, "lenet-300-100")
    keys = rows.loc[rows["point"] == "pixels log_gamma=28", "run"]
    masks = load_masks(ARCHIVE)
    counts = np.sum([masks[key] for key in keys], axis=0)
    found = np.full(784, np.nan)
    for path in ElementTree.fromstring(f"<svg>{parts.pixels()}</svg>").iter("path"):
        for x, y in re.findall(r"M(\d+) (\d+)h", path.get("d", "")):
            pixel = 28 * (int(y) // 3) + (int(x) - 18) // 3
            found[pixel] = float(path.get("fill-opacity", "nan"))
    np.testing.assert_allclose(found, 0.1 + 0.9 * counts / 10, atol=0.006)


def test_curves_lie_above_the_line_that_each_touches(parts: ModuleType) -> None:
    """That the cost at the best π is their lower envelope is what the picture says."""
    *curves, line = ElementTree.fromstring(f"<svg>{parts.envelope()}</svg>").iter("path")
    heights = dict(places(line))
    assert len(curves) == 4
    for curve in curves:
        gaps = [heights[x] - y for x, y in places(curve) if x in heights]
        assert min(gaps) >= -0.11, "a height is rounded to a tenth"
        assert min(gaps) <= 0.11
        assert max(gaps) > 3


def test_each_recorded_price_has_its_interval_around_its_mean(parts: ModuleType) -> None:
    rows = runs(ARCHIVE, "lenet-300-100")
    prices = [p for p in rows["point"].unique() if p.startswith("pixels")]
    _, *bars, curve = ElementTree.fromstring(f"<svg>{parts.results()}</svg>").iter("path")
    means = places(curve)
    assert len(bars) == len(means) == len(prices) == 8
    for bar, (x, y) in zip(bars, means, strict=True):
        (left, low), (right, high) = places(bar)
        assert left == right == x
        assert (low + high) / 2 == pytest.approx(y, abs=0.11)
    errors = [at(rows, point, "test_error_percent").mean() for point in prices]
    assert np.corrcoef(errors, [y for _, y in means])[0, 1] == pytest.approx(-1, abs=1e-3)


def places(path: ElementTree.Element) -> list[tuple[float, float]]:
    found = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path.get("d", ""))
    return [(float(x), float(y)) for x, y in found]
