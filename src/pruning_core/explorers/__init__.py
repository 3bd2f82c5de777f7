"""Charts with sliders that need no kernel: Altair, drawn by the book's pages and by JupyterLab."""

# ruff: noqa: E402  (what is missing is told before anything is imported)

from pruning_core.extras import need

need("book")

from pruning_core.explorers.chart import Explorer
from pruning_core.explorers.compared import error_against_size, error_against_zeros
from pruning_core.explorers.hyper_prior import hyper_prior
from pruning_core.explorers.joint import joint_descent
from pruning_core.explorers.penalties import penalties
from pruning_core.explorers.sections import sections_in_motion
from pruning_core.explorers.starts import where_starts_end
from pruning_core.explorers.trained import theta_in_motion, which_pixels
from pruning_core.explorers.unit import life_of_a_unit

__all__ = [
    "Explorer",
    "error_against_size",
    "error_against_zeros",
    "hyper_prior",
    "joint_descent",
    "life_of_a_unit",
    "penalties",
    "sections_in_motion",
    "theta_in_motion",
    "where_starts_end",
    "which_pixels",
]
