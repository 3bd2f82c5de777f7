"""Which code, libraries and device a result came from."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch


def versions() -> dict[str, str | None]:
    """Of Python, of what the numbers depend on, the processor, and the commit of this package."""
    installed = {name: version(name) for name in ("pruning-core", "torch", "torch-pruning")}
    return {"python": platform.python_version(), **installed, "cpu": cpu(), "commit": commit()}


def cpu() -> str:
    """The processor, its family and model, and the vector instructions that torch uses on it.

    On another one, sums may be taken in another order, and the same seed ends in another network.
    """
    told: dict[str, str] = {}
    path = Path("/proc/cpuinfo")  # Linux alone has it
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    name = told.get("model name") or platform.processor() or platform.machine()
    kind = ".".join(told[key] for key in ("cpu family", "model") if key in told)
    vectors = torch.backends.cpu.get_cpu_capability()
    return ", ".join(filter(None, [name, kind, vectors]))


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
