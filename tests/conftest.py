"""What holds for every test, the real data that several train on, and the browser of others."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

# The process that shares the tests out among others runs none itself: what takes seconds to import
# is imported where it is used.
if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

    from pruning_core.experiments.data import Dataset

ROOT = Path(__file__).resolve().parents[1]
MNIST = ROOT / "data" / "mnist"
HTML = ROOT / "_build" / "html"
FAILURES = ROOT / "_build" / "failures"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

settings.register_profile("no time limits", deadline=None)
settings.load_profile("no time limits")


FIRST = (  # the files that take longest, so that no process is left alone with one at the end
    "test_pdf.py",
    "test_epub.py",
    "test_insertion.py",
    "test_results.py",
    "test_training.py",
    "test_lab.py",
    "test_explorers.py",
    "test_explorers_in_pages.py",
    "test_studies.py",
    "test_wheel.py",
    "test_draw_a_digit.py",
    "test_first_screen.py",
    "test_bench.py",
    "test_theta_optimizer.py",
    "test_readme.py",
    "test_ledger.py",
    "test_cli.py",
    "test_widgets.py",
)
LAST = "test_book.py"  # page by page, which fills the gaps


def pytest_configure() -> None:
    """Share the cores among the processes of pytest-xdist; by default each would take them all."""
    if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
        import torch

        workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""

    def place(item: pytest.Item) -> int:
        name = item.path.name
        return FIRST.index(name) if name in FIRST else len(FIRST) + (name == LAST)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Hand out files in their order, and the book's pages one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class FilesAndPages(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            page = test.partition("[")[2].partition(".html")[0]
            return f"{file} {page}" if file.endswith(LAST) else file

    config.option.loadscopereorder = False  # not those with the most tests first
    return FilesAndPages(config, log)


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """All 60,000 + 10,000 images."""
    from pruning_core.experiments.data import load

    return load("mnist")


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 6,000 training and 1,000 test images of MNIST, as plain idx files."""
    from pruning_core.experiments.data import FILES

    folder = tmp_path_factory.mktemp("data") / "mnist-6000"
    folder.mkdir()
    for name in FILES:
        raw = gzip.decompress((MNIST / f"{name}.gz").read_bytes())
        count = 6_000 if name.startswith("train") else 1_000
        header = 16 if "images" in name else 8
        size = 28 * 28 if "images" in name else 1
        content = raw[:4] + struct.pack(">I", count) + raw[8 : header + count * size]
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def small_mnist(mnist_folder: Path) -> Dataset:
    """The images of ``mnist_folder``, loaded."""
    from pruning_core.experiments.data import load

    return load(root=mnist_folder)


@pytest.fixture(scope="module")  # beyond its module, its event loop would be in the way of others
def browser() -> Iterator[Browser]:
    """Chromium, without windows."""
    from playwright.sync_api import sync_playwright

    require("Chromium is not installed (Debian: apt install chromium)", CHROMIUM is not None)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-gpu",
                "--disable-quic",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        yield chromium
        chromium.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Of a test that fails, what its pages showed: as pictures in ``_build/failures``."""
    report = yield
    if report.failed and (chromium := getattr(item, "funcargs", {}).get("browser")) is not None:
        FAILURES.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w-]+", "-", item.nodeid.split("/")[-1])
        pages = [page for context in chromium.contexts for page in context.pages]
        for number, page in enumerate(pages):
            page.screenshot(path=FAILURES / f"{name}-{number}.png")
    return report


@pytest.fixture(scope="module")
def book_html() -> Path:
    """The folder of the built book's pages."""
    require("the book is not built (make book)", (HTML / "book" / "index.html").is_file())
    return HTML


def require(otherwise: str, there: bool) -> None:
    """Skip the test for what is not there, or fail it where nothing may be skipped."""
    if not there and os.environ.get("CI") == "true":
        pytest.fail(f"the browser tests are mandatory when CI=true, but {otherwise}")
    if not there:
        pytest.skip(otherwise)
