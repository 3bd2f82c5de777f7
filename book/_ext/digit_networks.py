"""The networks that read digits in the pages, with what the pages tell of them, and the digits.

Of LeNet-300-100: dense, pruned by gates at eight prices, and pruned by HALO, as they lie in
``results/models``. :func:`as_script` packs them for ``digits.js``.
"""

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pruning_core.experiments.data import load
from pruning_core.export import load_model
from pruning_core.metrics import (
    count_macs,
    count_nonzero_weights,
    count_weights,
    error_percent,
    weighted_layers,
)
from pruning_core.studies.archive import Archive
from pruning_core.studies.networks import MODELS, at_work
from pruning_core.studies.tables import at, runs, said
from torch import Tensor, nn

ROOT = Path(__file__).parents[2]
PRICES = (10, 14, 20, 28, 40, 56, 80, 110)
"""In nats a unit."""

POINTS = {
    "dense": ("training-cost", "lenet-300-100-dense"),
    **{f"price-{price}": ("lenet-300-100", f"pixels log_gamma={price}") for price in PRICES},
    "halo": ("halo-lenet-300-100", "default"),
}
"""Study and point of each network, whose seed is 0; in the order of the slider."""

OF_EACH = 4
"""Test digits of each label that the pages offer, the first ones."""

TURNING, DISPUTED = 12, 4
"""Then those that flip once as the price rises; and for each network, those of another answer."""

TURNS_AT = 56
"""The price at which the digit of the first page turns: from a 4 into a 9."""


@dataclass(frozen=True)
class Reader:
    """A network, and what the pages say of it.

    Attributes:
        name: of its folder, without the model's.
        stop: its name on the slider.
        spoken: its name in words.
        network: itself, in evaluation mode.
        at_work: the pixels, and the units of both hidden layers, that its answers depend on.
        facts: by name, for the table.
        told: how much of it is left, in two pieces: a number, and the rest of the sentence.
        errors: its error on the test set, beside that of ten of its kind; a sentence.
    """

    name: str
    stop: str
    spoken: str
    network: nn.Module
    at_work: list[list[int]]
    facts: dict[str, str]
    told: tuple[str, str]
    errors: str

    @property
    def drawn(self) -> str:
        """What a picture of it shows."""
        pixels, first, second = map(len, self.at_work)
        return (
            f"The network, {self.spoken}: {pixels} of 784 pixels, {first} of 300 units and "
            f"{second} of 100 are left; the brighter a unit, the stronger its answer."
        )

    @property
    def sparse(self) -> bool:
        """Whether zeros stand among its weights."""
        return count_nonzero_weights(self.network) < count_weights(self.network)

    def layers(self, image: Tensor) -> list[Tensor]:
        """What goes into each layer for an image of shape (28, 28), and at last the ten shares."""
        index = self.network.state_dict().get("gate0.index", torch.arange(28 * 28))
        values = [image.flatten()[index]]
        *hidden, last = weighted_layers(self.network)
        with torch.no_grad():
            for layer in hidden:
                values.append(layer(values[-1]).relu())
            values.append(last(values[-1]).softmax(0))
        return values


@dataclass(frozen=True)
class Digits:
    """Test digits.

    Attributes:
        images: uint8, shape (n, 28, 28): `OF_EACH` of each label, then those in dispute.
        labels: of them.
        turning: place of the one that the first page begins with.
    """

    images: Tensor
    labels: list[int]
    turning: int


@cache
def readers() -> list[Reader]:
    """All ten networks."""
    data, archive = load("mnist"), Archive(ROOT)
    found = []
    networks = {name: load_model(ROOT / MODELS / f"lenet-300-100-{name}") for name in POINTS}
    for (name, (study, point)), network in zip(POINTS.items(), networks.values(), strict=True):
        stop = {"dense": "dense", "halo": "HALO"}.get(name, name.removeprefix("price-"))
        weights = count_nonzero_weights(network)
        error = error_percent(network, data.eval_images, data.eval_labels)
        kind = said(at(runs(archive, study), point, "test_error_percent"))
        pixels, *hidden = at_work(network)
        share = 100 * weights / count_weights(networks["dense"])
        left = f"{len(pixels)} of 784 pixels and {sum(map(len, hidden))} of 400 units"
        rest = {
            "dense": "of the weights: nothing has left this network.",
            "halo": f"of the weights are left, scattered over {left}.",
        }.get(name, f"of the weights are left, with {left}.")
        found.append(
            Reader(
                name,
                stop,
                stop if name in ("dense", "halo") else f"{stop} nats a unit",
                network,
                [pixels, *hidden],
                {
                    "weights": f"{weights:,}",
                    "macs": f"{count_macs(network, data.eval_images[:1]):,}",
                    "error": f"{error:.2f} %",
                    "seeds": kind,
                },
                (f"{share:.1f} %" if share < 100 else "100 %", rest),
                f"On the test set it errs on {error:.2f} %; ten trained like it, on {kind}.",
            )
        )
    return found


@cache
def digits() -> Digits:
    """The first test digits of each label, and some on which the networks disagree."""
    data = load("mnist")
    images, labels = data.eval_images, data.eval_labels
    with torch.no_grad():
        answers = torch.stack([reader.network(images).argmax(1) for reader in readers()])
    priced = answers[:-1]  # without HALO: dense, then the prices as they rise
    once = (priced[1:] != priced[:-1]).sum(0) == 1
    turning = (once & (priced[0] == labels)).nonzero()[:, 0]
    disputed = [(row != answers[0]).nonzero()[:DISPUTED, 0] for row in answers[1:]]
    of_each = torch.cat([(labels == digit).nonzero()[:OF_EACH, 0] for digit in range(10)])
    chosen = [*of_each.sort().values.tolist(), *turning[:TURNING].tolist()]
    chosen += sorted(set(torch.cat(disputed).tolist()) - set(chosen))
    at_turn = 1 + PRICES.index(TURNS_AT)
    turns = once & (priced[at_turn - 1] == labels) & (labels == 4) & (priced[at_turn] == 9)
    first = int(turns.nonzero()[0, 0])
    if first not in chosen:
        chosen.append(first)
    return Digits(
        (255 * images[chosen, 0]).round().to(torch.uint8),
        labels[chosen].tolist(),
        chosen.index(first),
    )


def sentence(label: int, answers: list[int]) -> str:
    """What happens to a test digit as the price rises; `happened` of first-screen.js is its twin.

    Args:
        label: of the digit.
        answers: of all networks, in their order.
    """
    dense, *priced, halo = answers
    missed = "" if label == dense else f"Labelled {label}; the dense network reads {a(dense)}. "
    if len(set(answers)) == 1:
        return f"{missed}All ten networks read {a(dense)}."
    changes: list[str] = []
    for number, (before, now, price) in enumerate(zip(answers, priced, PRICES, strict=False)):
        if now != before:
            start = f", at {price}" if changes else f"At {price} nats a unit this {dense} becomes"
            again = " again" if now in answers[:number] else ""
            changes.append(f"{start} {a(now)}{again}")
    said = "".join(changes) or f"At all eight prices it stays {a(dense)}"
    if len(changes) > 2:
        said = f"As the price rises, the answer changes {len(changes)} times"
    return f"{missed}{said}. HALO reads {a(halo)}."


def a(digit: int) -> str:
    """With its article."""
    return f"an {digit}" if digit == 8 else f"a {digit}"


def packed(reader: Reader) -> dict[str, Any]:
    """A network, layer by layer: weights and biases, in float16, the lower byte first.

    Where zeros stand among the weights, row by row: how many are not zero, their columns, they.
    """
    layers = weighted_layers(reader.network)
    parts: list[bytes] = []
    for layer in layers:
        weight = layer.weight.detach()
        if reader.sparse:
            counts, columns = (weight != 0).sum(1), (weight != 0).nonzero()[:, 1]
            parts += [numbers.numpy().astype("<u2").tobytes() for numbers in (counts, columns)]
            weight = weight[weight != 0]
        parts += [_halves(weight), _halves(layer.get_parameter("bias").detach())]
    state = reader.network.state_dict()
    return {
        "name": reader.name,
        "stop": reader.stop,
        "spoken": reader.spoken,
        "facts": reader.facts,
        "told": reader.told,
        "drawn": reader.drawn,
        "errors": reader.errors,
        "inputs": state["gate0.index"].tolist() if "gate0.index" in state else None,
        "atWork": reader.at_work,
        "shapes": [list(layer.weight.shape) for layer in layers],
        "sparse": reader.sparse,
        "weights": base64.b64encode(b"".join(parts)).decode(),
    }


def _halves(numbers: Tensor) -> bytes:
    return np.asarray(numbers.flatten().half().numpy(), "<f2").tobytes()


def as_script() -> str:
    """The networks and the test digits, in JavaScript."""
    values = {
        "networks": [packed(reader) for reader in readers()],
        "images": base64.b64encode(digits().images.numpy().tobytes()).decode(),
        "labels": digits().labels,
        "ofEach": OF_EACH,
    }
    return f"const digitNetworks = {json.dumps(values)};\n"
