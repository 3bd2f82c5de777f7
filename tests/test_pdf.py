"""The whole book as one PDF, printed by `make pdf`."""

import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from pypdf import PdfReader

ROOT = Path(__file__).parents[1]
TITLES = {
    nbformat.read(path, as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
    for path in (ROOT / "book").glob("*.ipynb")
}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pdf() -> PdfReader:
    if not shutil.which("chromium") and os.environ.get("CI") != "true":
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    subprocess.run(["make", "--silent", "pdf"], cwd=ROOT, check=True)
    return PdfReader(ROOT / "_build" / "book.pdf")


def starts(pdf: PdfReader) -> dict[str, int]:
    """The page on which each section of the outline's second level starts."""
    (below,) = [entry for entry in pdf.outline if isinstance(entry, list)]
    entries = [entry for entry in below if not isinstance(entry, list)]
    pages = {str(entry.title): pdf.get_destination_page_number(entry) for entry in entries}
    return {title: page for title, page in pages.items() if page is not None}


def test_every_chapter_is_in_the_outline_and_begins_a_page(pdf: PdfReader) -> None:
    (whole,) = [entry for entry in pdf.outline if not isinstance(entry, list)]
    found = starts(pdf)
    assert whole.title == "Networks that prune themselves"
    assert found.keys() >= TITLES
    assert len({found[title] for title in TITLES}) == len(TITLES)


def test_links_stay_within_the_pdf(pdf: PdfReader) -> None:
    """None leads to a file of the machine that printed it."""
    links = [a.get_object() for page in pdf.pages for a in page.get("/Annots", ())]
    addresses = [str(link["/A"]["/URI"]) for link in links if "/URI" in link.get("/A", {})]
    assert [address for address in addresses if not address.startswith("https://")] == []
    assert len(links) > 200


def test_mathematics_is_set_and_solutions_are_open(pdf: PdfReader) -> None:
    """In the shortest chapter with many fractions: reading the text of all pages takes minutes."""
    found = starts(pdf)
    start = found["Why the network ends up deterministic"]
    end = min(page for page in found.values() if page > start)
    text = "\n".join(pdf.pages[page].extract_text() for page in range(start, end))
    assert "\\frac" not in text
    assert "\\theta" not in text
    assert text.count("Solution to Exercise") == 3
    assert "Click to show" not in text
