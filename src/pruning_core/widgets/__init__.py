"""Controls for a notebook with a running kernel, by ipywidgets."""
