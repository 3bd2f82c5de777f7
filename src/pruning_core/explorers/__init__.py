"""Charts with sliders that need no kernel: Altair, drawn by the book's pages and by JupyterLab."""

from pruning_core.explorers.chart import Explorer
from pruning_core.explorers.hyper_prior import hyper_prior

__all__ = ["Explorer", "hyper_prior"]
