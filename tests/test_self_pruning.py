"""The network that trains in the page: the same equations as the package, and what it comes to."""

import base64
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import Browser, Page
from torch import Tensor, nn

from pruning_core import BernoulliPruner, Halo
from pruning_core.experiments.data import MNIST_MD5, load
from pruning_core.gates import BernoulliGate, InputGate
from pruning_core.metrics import architecture, count_macs, count_nonzero_weights

ROOT = Path(__file__).parents[1]
STEPS = 50
CONSERVATIVE = 150
"""Steps a second of a slow machine."""

pytestmark = pytest.mark.browser

HELPERS = """
const bytesOf = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const floatsOf = text => new Float64Array(bytesOf(text).buffer);
const transposed = ({inputs, outputs}, values) =>
    values.map((_, place) => values[(place % outputs) * inputs + Math.floor(place / outputs)]);
let trainer, worker, heard = [];
const made = settings => { trainer = new Trainer(images, labels, {...defaults, ...settings}); };
function given(layers) {
    layers.forEach((values, l) => {
        const layer = trainer.layers[l];
        const found = Object.fromEntries(Object.entries(values).map(([k, v]) => [k, floatsOf(v)]));
        layer.matrices.weight = transposed(layer, found.weight);
        layer.ofOutputs.bias = found.bias;
        for (const name of ["theta", "thetaAverage", "average"])
            if (name in found) layer.ofInputs[name] = found[name];
    });
}
const stepped = ([indices, draws]) => trainer.step(indices, draws?.map(floatsOf));
"""


@pytest.fixture(scope="module")
def extension() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "book" / "_ext")
        yield importlib.import_module("self_pruning")


@pytest.fixture(scope="module")
def page(browser: Browser, extension: ModuleType) -> Iterator[Page]:
    """An empty page with the worker's source, and the images as the file of data holds them."""
    data = extension.data()
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_script_tag(content=data["worker"] + HELPERS)
    page.evaluate(
        """async ({images, labels, count, defaults, worker}) => {
            const picture = new Image();
            picture.src = images;
            await picture.decode();
            const pen = document.createElement("canvas").getContext("2d");
            const across = picture.width / 14;
            Object.assign(pen.canvas, {width: picture.width, height: picture.height});
            pen.drawImage(picture, 0, 0);
            window.images = new Uint8Array(196 * count);
            for (let n = 0; n < count; n++) {
                const tile = pen.getImageData(14 * (n % across), 14 * Math.floor(n / across), 14, 14);
                for (let i = 0; i < 196; i++) window.images[196 * n + i] = tile.data[4 * i];
            }
            window.labels = Uint8Array.from(atob(labels), c => c.charCodeAt(0));
            Object.assign(window, {defaults, source: worker});
        }""",
        data,
    )
    yield page
    page.close()
    assert errors == []


def text_of(values: Tensor | np.ndarray[Any, Any]) -> str:
    """Numbers as the page is given them."""
    array = values.detach().numpy() if isinstance(values, Tensor) else values
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode()


def matrices(page: Page, name: str) -> list[np.ndarray[Any, Any]]:
    """Of the trainer in the page, as torch has them: output by output."""
    found = page.evaluate(
        f"trainer.layers.map(l => [l.outputs, l.inputs, [...trainer.byOutput(l, l.matrices.{name})]])"
    )
    return [np.array(values).reshape(outputs, inputs) for outputs, inputs, values in found]


class Twin:
    """The network in torch, and the one in the page with the same weights."""

    def __init__(self, page: Page, extension: ModuleType, *, gated: bool, **settings: Any) -> None:
        torch.manual_seed(7)
        images, labels = extension.digits()
        self.images, self.labels = images / extension.LEVELS, labels.long()
        self.page = page
        sizes = [196, 64, 32, 10]
        gates = [InputGate(196), BernoulliGate(64), BernoulliGate(32)] if gated else []
        self.linear = [nn.Linear(*pair) for pair in zip(sizes, sizes[1:], strict=False)]
        layers: list[nn.Module] = []
        for l, linear in enumerate(self.linear):
            layers += [*gates[l : l + 1], linear, *([nn.ReLU()] if l < 2 else [])]
        self.model = nn.Sequential(*layers)
        self.gates = gates
        page.evaluate("settings => made(settings)", settings)

    def give(self) -> None:
        """Weights and gates to the page."""
        values: list[dict[str, str]] = []
        for l, linear in enumerate(self.linear):
            of_layer = {"weight": text_of(linear.weight.flatten()), "bias": text_of(linear.bias)}
            if self.gates:
                gate = self.gates[l]
                of_layer["theta"] = text_of(gate.theta)
                of_layer["thetaAverage"] = text_of(gate.theta_average)
                of_layer["average"] = text_of(gate.gradient_average)
            values.append(of_layer)
        self.page.evaluate("layers => given(layers)", values)

    def compare(self, atol: float = 1e-4) -> None:
        for linear, found in zip(self.linear, matrices(self.page, "weight"), strict=True):
            np.testing.assert_allclose(found, linear.weight.detach(), atol=atol, rtol=0)
        biases = self.page.evaluate("trainer.layers.map(l => [...l.ofOutputs.bias])")
        for linear, found in zip(self.linear, biases, strict=True):
            np.testing.assert_allclose(found, linear.bias.detach(), atol=atol, rtol=0)
        if self.gates:
            thetas = self.page.evaluate("trainer.layers.map(l => [...l.ofInputs.theta])")
            for gate, found in zip(self.gates, thetas, strict=True):
                np.testing.assert_allclose(found, gate.theta.detach(), atol=atol, rtol=0)


def a_batch(step: int) -> Tensor:
    """64 of the 4,000 images, and at times fewer."""
    return torch.randperm(4000)[: 32 if step % 10 == 9 else 64]


def test_fifty_bernoulli_steps_and_two_removals_are_those_of_the_package(
    page: Page, extension: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"thetaStep": 1 / 40, "smoothing": 0.9, "f": 0.3, "lambda": 5.0, "logGamma": 12.0}
    twin = Twin(page, extension, gated=True, **settings)
    from pruning_core.pathwise import IntegratedGates

    pruner = BernoulliPruner(
        twin.model,
        settings["logGamma"],
        4000,
        theta_step=settings["thetaStep"],
        smoothing=settings["smoothing"],
        estimator=IntegratedGates(settings["f"]),
        look_every=25,
        example_inputs=twin.images[:32],
    )
    optimizer = torch.optim.Adam(
        twin.model.parameters(), extension.DEFAULTS["learningRate"], weight_decay=5.0 / 4000
    )
    # Some units have died already, and some are about to.
    with torch.no_grad():
        for gate, units in zip(twin.gates, (range(20, 60), range(5, 9), range(3)), strict=True):
            for theta, average, some in ((0.01, 0.01, units[::2]), (0.1, 0.02, units[1::2])):
                gate.theta[list(some)] = theta
                gate.theta_average[list(some)] = average
                gate.gradient_average[list(some)] = settings["logGamma"] / 4000
    twin.give()
    sizes = [architecture(twin.model)]
    for step in range(STEPS):
        index = a_batch(step)
        draws = []
        for gate in twin.gates:
            chosen, uniform = torch.rand(2, len(index), gate.num_units, dtype=torch.float64)
            # Not so near to θ that rounding decides.
            near = (uniform - gate.theta.detach()).abs() < 1e-4
            draws.append((chosen, torch.where(near, (uniform + 0.01) % 1, uniform)))
        pending = iter(draws)
        monkeypatch.setattr(torch, "rand", lambda *_, **__: [d.float() for d in next(pending)])
        loss = F.cross_entropy(twin.model(twin.images[index]), twin.labels[index])
        monkeypatch.undo()
        optimizer.zero_grad()
        (loss + pruner.penalty()).backward()
        optimizer.step()
        pruner.step()
        pruner.compact_(optimizer)
        sizes += [architecture(twin.model)] if architecture(twin.model) != sizes[-1] else []
        f = settings["f"]
        single = [torch.where(c.float() < f, f * u, f + (1 - f) * u) for c, u in draws]
        found = page.evaluate("stepped", [index.tolist(), [text_of(v) for v in single]])
        assert found == pytest.approx(loss.item(), abs=1e-4)
    assert sizes == [[196, 64, 32], [176, 62, 30], [156, 60, 29]]
    twin.compare()
    assert page.evaluate("trainer.layers.map(l => [...l.ofInputs.kept])") == [
        gate.unit_index.tolist() for gate in twin.gates
    ]
    worth = page.evaluate("trainer.layers.map(l => [...trainer.worth(l)])")
    for expected, of_layer in zip(pruner.worth().values(), worth, strict=True):
        np.testing.assert_allclose(of_layer, expected, atol=1e-2)
    assert sum(int((g.theta < 0.5).sum()) for g in twin.gates) > 5


def test_fifty_steps_of_halo_are_those_of_the_package(page: Page, extension: ModuleType) -> None:
    settings = {"xi": 2e-4, "psi": 3e-2, "haloRate": 0.05, "lambda": 5.0, "method": "halo"}
    twin = Twin(page, extension, gated=False, **settings)
    halo = Halo(twin.model, settings["xi"], settings["psi"], proximal=True)
    decayed = {"params": list(twin.model.parameters()), "weight_decay": 5.0 / 4000}
    optimizer = torch.optim.SGD([decayed, {"params": halo.parameters()}], 0.05, momentum=0.9)
    twin.give()
    for step in range(STEPS):
        index = a_batch(step)
        loss = F.cross_entropy(twin.model(twin.images[index]), twin.labels[index])
        optimizer.zero_grad()
        loss.backward()
        halo.backward()
        optimizer.step()
        halo.shrink_(0.05 / (1 - 0.9))
        assert page.evaluate("stepped", [index.tolist()]) == pytest.approx(loss.item(), abs=1e-4)
    twin.compare()
    found = np.concatenate([m.ravel() for m in matrices(page, "coefficient")])
    np.testing.assert_allclose(found, halo.coefficients.detach().clamp_min(1e-3), atol=1e-4)
    zeros = count_nonzero_weights(twin.model)
    assert 0.05 < zeros / 14912 < 0.95
    assert page.evaluate("trainer.weightsLeft()") == pytest.approx(zeros, abs=3)
