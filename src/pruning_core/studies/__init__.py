"""Studies: runs that are declared, recorded and resumed, and the ledger of claims about them."""

from pathlib import Path

from pruning_core.studies.archive import Archive

ROOT = Archive(Path(__file__).resolve().parents[3])
"""Of the repository that the package is installed from, with its ``studies/`` and ``results/``."""
