"""Sphinx extension: ``{draw-a-digit}`` is a paper to draw on, and two networks that answer.

The networks of ``results/models`` and a few test digits go into one JavaScript file, which only the
page with the directive loads. What PyTorch makes of the first of these digits stands in the page
until the script takes over, and stays where there is none: in print.
"""

import base64
import io
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from docutils import nodes
from jinja2 import Environment
from PIL import Image
from pruning_core.experiments.data import load
from pruning_core.export import load_model
from pruning_core.metrics import count_macs, count_weights, error_percent, weighted_layers
from pruning_core.studies.archive import Archive
from pruning_core.studies.intervals import interval
from pruning_core.studies.tables import by_point
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "results" / "models"
POINTS = {"dense": "lenet-300-100-dense", "pruned": "lenet-300-100"}
"""Of the study training-cost; the networks of the page are those of seed 0."""

TEMPLATE = Path(__file__).with_suffix(".html")
SCRIPTS = ("digit-networks.js", "draw-a-digit.js")

OF_EACH = 4
"""Test digits of each label that the page offers."""

DISPUTED = 12
"""And those on which the networks disagree."""

PAPER, LIT, UNREAD, CHALK = (13, 19, 26), (31, 66, 94), (62, 68, 76), (255, 241, 214)
"""Colours of the static pictures, as in draw-a-digit.css: ground, read pixels, ink unread, ink."""


class Contents(NamedTuple):
    """What the page holds.

    Attributes:
        networks: by name.
        errors: of each on the test set, in percent.
        over_seeds: mean and interval of the error over ten seeds of the same settings, in words.
        images: the test digits, uint8 of shape (n, 28, 28); those in dispute come last.
        labels: of them.
    """

    networks: dict[str, nn.Module]
    errors: dict[str, float]
    over_seeds: dict[str, str]
    images: Tensor
    labels: list[int]


@cache
def contents() -> Contents:
    """Read the networks, try them on the test set, and choose the digits from it."""
    data = load("mnist")
    images, labels = data.eval_images, data.eval_labels
    networks = {name: load_model(MODELS / f"lenet-300-100-{name}") for name in POINTS}
    recorded = by_point(Archive(ROOT), "training-cost")
    seeds = {name: recorded[point]["test_error_percent"] for name, point in POINTS.items()}
    with torch.no_grad():
        dense, pruned = (network(images).argmax(1) for network in networks.values())
    of_each = torch.cat([(labels == digit).nonzero()[:OF_EACH, 0] for digit in range(10)])
    disputed = (dense != pruned).nonzero()[:DISPUTED, 0]
    chosen = torch.cat([of_each.sort().values, disputed])
    return Contents(
        networks,
        {name: error_percent(network, images, labels) for name, network in networks.items()},
        {name: f"{interval(errors)} %" for name, errors in seeds.items()},
        (255 * images[chosen, 0]).round().to(torch.uint8),
        labels[chosen].tolist(),
    )


class DrawADigit(SphinxDirective):
    """The paper, the answers and the buttons, from ``draw_a_digit.html``."""

    def run(self) -> list[nodes.Node]:
        for path in (TEMPLATE, ROOT / "results" / "training-cost.csv", *MODELS.rglob("*.*")):
            self.env.note_dependency(str(path))
        digits = list(enumerate(contents().labels))
        page = Environment(trim_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
        text = page.render(
            networks=[panel(name) for name in contents().networks],
            label=contents().labels[0],
            tests=[[d for d in digits[:-DISPUTED] if d[1] == label] for label in range(10)],
            disputed=digits[-DISPUTED:],
        )
        return [nodes.raw("", text, format="html")]


def panel(name: str) -> dict[str, Any]:
    """What the template says of a network."""
    network = contents().networks[name]
    example = contents().images[:1, None] / 255
    with torch.no_grad():
        shares = network(example).softmax(1)[0].tolist()
    return {
        "name": name,
        "weights": count_weights(network),
        "macs": count_macs(network, example),
        "error": contents().errors[name],
        "over_seeds": contents().over_seeds[name],
        "pixels": len(pixels(network)),
        "shares": shares,
        "picture": picture(example[0, 0], pixels(network)),
    }


def pixels(network: nn.Module) -> list[int]:
    """Those of the 784 that a network reads, row by row."""
    return network.state_dict().get("gate0.index", torch.arange(28 * 28)).tolist()


def picture(image: Tensor, read: list[int]) -> str:
    """What a network sees of an image, shape (28, 28), as the address of a PNG."""
    is_read = torch.zeros(28 * 28, dtype=torch.bool)
    is_read[read] = True
    paper, lit, unread, chalk = torch.tensor([PAPER, LIT, UNREAD, CHALK], dtype=torch.float)
    ground = torch.where(is_read.view(28, 28, 1), lit, paper)
    ink = torch.where(is_read.view(28, 28, 1), chalk, unread)
    cells = paper.expand(28, 6, 28, 6, 3).clone()
    cells[:, :5, :, :5] = ground.lerp(ink, image[..., None])[:, None, :, None]
    file = io.BytesIO()
    Image.fromarray(cells.reshape(168, 168, 3).to(torch.uint8).numpy()).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def packed(network: nn.Module) -> dict[str, Any]:
    """Weights and biases, layer by layer, in float16, the lower byte first."""
    layers = weighted_layers(network)
    tensors = [tensor for layer in layers for tensor in (layer.weight, layer.get_parameter("bias"))]
    numbers = torch.cat([tensor.detach().flatten() for tensor in tensors]).half().numpy()
    return {
        "pixels": pixels(network),
        "shapes": [list(layer.weight.shape) for layer in layers],
        "weights": base64.b64encode(numbers.astype("<f2").tobytes()).decode(),
    }


def write_networks(app: Sphinx) -> None:
    """Put the networks and the test digits among the static files."""
    if app.builder.name != "html":
        return
    values = {
        "networks": {name: packed(network) for name, network in contents().networks.items()},
        "images": base64.b64encode(contents().images.numpy().tobytes()).decode(),
    }
    path = Path(app.outdir) / "_static" / SCRIPTS[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"const digitNetworks = {json.dumps(values)};\n", encoding="utf-8")


def load_where_used(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """The style where there is something to style; the scripts too, unless it is to be printed."""
    if 'class="draw-a-digit"' not in context.get("body", ""):
        return
    app.add_css_file("draw-a-digit.css")
    if app.builder.name == "html":
        for script in SCRIPTS:
            app.add_js_file(script)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, and its files for the page that uses it."""
    app.add_directive("draw-a-digit", DrawADigit)
    app.connect("builder-inited", write_networks)
    app.connect("html-page-context", load_where_used)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
