"""What else must be installed for a part of the package, and the words that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Self

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "data": ("torchvision",),
    "studies": ("joblib", "pandas", "pyarrow", "scipy"),
    "cluster": ("distributed",),
    "lightning": ("lightning",),
    "book": (
        "PIL",
        "altair",
        "ipywidgets",
        "joblib",
        "matplotlib",
        "pandas",
        "pyarrow",
        "scipy",
        "seaborn",
        "vl_convert",
    ),
}
"""By extra of the distribution, the packages of it that modules import."""


class MissingExtraError(ImportError):
    """A part of the package needs what is not installed; one line says how to install it."""

    @classmethod
    def of(cls, extra: str, missing: Sequence[str]) -> Self:
        """That these packages are missing, which the extra brings."""
        return cls(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; "
            f"pip install 'pruning-core[{extra}]' brings what this needs"
        )


def need(extra: str) -> None:
    """See that the packages of an extra are installed, without importing them.

    Raises:
        MissingExtraError: naming those that are not, and what to install.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise MissingExtraError.of(extra, missing)
