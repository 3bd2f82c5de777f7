"""Which code, libraries and device a result came from."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch


def versions() -> dict[str, str | None]:
    """Of Python, of what the numbers depend on, and the commit of this package.

    ``cpu`` is the widest vector instructions that torch uses here ("AVX2", "AVX512", ...): with
    others it takes sums in another order, and the same seed ends in another network.
    """
    installed = {name: version(name) for name in ("pruning-core", "torch", "torch-pruning")}
    cpu = torch.backends.cpu.get_cpu_capability()
    return {"python": platform.python_version(), **installed, "cpu": cpu, "commit": commit()}


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The git commit this package runs from, with a + if files differ from it; None without git."""
    here = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        # Within somebody else's repository, this file is not one of theirs.
        git("ls-files", "--error-unmatch", here.name)
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
