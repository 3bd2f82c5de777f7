"""What holds for every test."""

import os

import torch


def pytest_configure() -> None:
    """Share the cores among the processes of pytest-xdist; by default each would take them all."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
