"""Studies: runs that are declared, recorded and resumed, and the ledger of claims about them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""The repository that the package is installed from, with its ``studies/`` and ``results/``."""
