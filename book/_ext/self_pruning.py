"""Sphinx extension: ``{prune-it}`` is a network that trains and prunes itself in the reader's page.

Digits of MNIST and the source of the worker that learns them go into one JavaScript file, which
only the page with the directive loads. What stands in the page where nothing runs is recorded, by
``self_pruning_recording.py``.
"""

import base64
import io
import json
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from docutils import nodes
from jinja2 import Environment
from PIL import Image
from pruning_core.experiments.data import load
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from torch import Tensor

STATIC = Path(__file__).parents[1] / "_static"
WORKER = STATIC / "self-pruning.worker.js"
TEMPLATE = Path(__file__).with_suffix(".html")
RECORDED = Path(__file__).with_suffix(".json")
SCRIPTS = ("self-pruning-data.js", "self-pruning-pictures.js", "self-pruning.js")

TRAINED = 4_000
HELD_OUT = 1_000
SIDE = 14
"""Of an image, in pixels: half of MNIST's, each the mean of four."""

LEVELS = 15
"""Of grey above black. With so few the file is small, and no browser's rounding matters."""

IMAGES_A_ROW = 100
"""In the file, side by side."""

DEFAULTS: dict[str, Any] = {
    "method": "bernoulli",
    "seed": 0,
    "logGamma": 12.0,
    "thetaStep": 8e-4,
    "f": 0.25,
    "smoothing": 0.99,
    "learningRate": 2e-3,
    "xi": 5e-5,
    "psi": 5e-4,
    "haloRate": 0.05,
    "lambda": 2.0,
    "excludedDigit": None,
    "pace": None,
}
"""What training begins with. Each method has a learning rate of its own."""

RANGES: dict[str, dict[str, float]] = {
    "logGamma": {"min": 0.5, "max": 2000},
    "thetaStep": {"min": 1e-4, "max": 1e-2},
    "f": {"min": 0.05, "max": 1},
    "smoothing": {"min": 0, "max": 0.999},
    "learningRate": {"min": 1e-4, "max": 1e-1},
    "xi": {"min": 1e-6, "max": 1e-3},
    "psi": {"min": 1e-5, "max": 1e-2},
    "haloRate": {"min": 1e-3, "max": 1},
    "lambda": {"min": 0, "max": 20},
    "seed": {"min": 0, "max": 9999},
    "pace": {"min": 1, "max": 1000},
}
"""Of what the reader may set."""


class Digits(NamedTuple):
    """What the network learns, and what it is judged by.

    Attributes:
        images: levels of grey from 0 to ``LEVELS``, uint8 of shape (n, 196); the first ``TRAINED``
            to learn from.
        labels: of them, uint8.
    """

    images: Tensor
    labels: Tensor


@cache
def digits() -> Digits:
    """The first images of MNIST's training file, and of its last 10,000; no test image is read."""
    data = load("mnist", split="validation")
    images = torch.cat([data.train_images[:TRAINED], data.eval_images[:HELD_OUT]])
    labels = torch.cat([data.train_labels[:TRAINED], data.eval_labels[:HELD_OUT]])
    means = F.avg_pool2d(images, 28 // SIDE).flatten(1)
    return Digits((LEVELS * means).round().to(torch.uint8), labels.to(torch.uint8))


def picture(images: Tensor) -> str:
    """All images side by side, in rows of ``IMAGES_A_ROW``, as the address of one PNG."""
    tiles = (images * (255 // LEVELS)).view(-1, IMAGES_A_ROW, SIDE, SIDE).transpose(1, 2)
    grey = tiles.reshape(-1, IMAGES_A_ROW * SIDE).numpy()
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def text_of(values: Tensor) -> str:
    """Bytes as base64."""
    return base64.b64encode(values.numpy().tobytes()).decode()


class PruneIt(SphinxDirective):
    """The panel, from ``self_pruning.html``."""

    def run(self) -> list[nodes.Node]:
        for path in (TEMPLATE, WORKER, RECORDED):
            self.env.note_dependency(str(path))
        page = Environment(trim_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
        recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
        text = page.render(recorded=recorded, math=math)
        return [nodes.raw("", text, format="html")]


def data() -> dict[str, Any]:
    """What the page computes with."""
    images, labels = digits()
    return {
        "worker": WORKER.read_text(encoding="utf-8"),
        "images": picture(images),
        "labels": text_of(labels),
        "count": len(labels),
        "trained": TRAINED,
        "defaults": DEFAULTS,
        "ranges": RANGES,
    }


def write_data(app: Sphinx) -> None:
    """Put digits, settings and the worker's source among the static files."""
    if app.builder.name != "html":
        return
    path = Path(app.outdir) / "_static" / SCRIPTS[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"const selfPruning = {json.dumps(data())};\n", encoding="utf-8")


def load_where_used(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """The style where there is something to style; the scripts too, unless it is to be printed."""
    if 'class="self-pruning"' not in context.get("body", ""):
        return
    app.add_css_file("self-pruning.css")
    if app.builder.name == "html":
        for script in SCRIPTS:
            app.add_js_file(script)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and its files for the page that uses it."""
    app.add_directive("prune-it", PruneIt)
    app.connect("builder-inited", write_data)
    app.connect("html-page-context", load_where_used)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
