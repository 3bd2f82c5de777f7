"""Controls for a notebook with a running kernel, by ipywidgets."""

from pruning_core.extras import need

need("book")
