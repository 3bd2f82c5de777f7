"""What holds for every test, and the real data that several of them train on."""

import gzip
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from pruning_core.data import FILES, Dataset, load

MNIST = Path(__file__).resolve().parents[1] / "data" / "mnist"

settings.register_profile("no time limits", deadline=None)
settings.load_profile("no time limits")


def pytest_configure() -> None:
    """Share the cores among the processes of pytest-xdist; by default each would take them all."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """All 60,000 + 10,000 images."""
    return load("mnist")


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 6,000 training and 1,000 test images of MNIST, as plain idx files."""
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
    return load(root=mnist_folder)
