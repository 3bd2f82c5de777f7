"""Tests of pruning_core.insertion: gates in models as they are, whose closed units can leave."""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from pruning_core.compaction import compact_
from pruning_core.export import export
from pruning_core.gates import BernoulliGate, named_gates
from pruning_core.inputs import Inputs
from pruning_core.insertion import Gated, insert_gates_
from pruning_core.metrics import evaluating
from pruning_core.removal import CompactionError

FEW = 5
"""Steps compared of a network that would take a minute for 50."""

TOLERANCE = 1e-9

vision = torchvision.models


class Mlp(nn.Module):
    """Norms behind linear layers, activations as functions, one module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 12)
        self.norm = nn.BatchNorm1d(12)
        self.second = nn.Linear(12, 10)
        self.third = nn.Linear(10, 10)
        self.both = nn.Linear(10, 10)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        x = self.third(F.gelu(self.second(x)))
        return self.out(self.both(self.both(x)))


class UNet(nn.Module):
    """Two levels, the skips concatenated, going up by interpolation or by a transposed filter."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = block(1, 6), block(6, 10), block(10, 12)
        self.up2 = nn.ConvTranspose2d(12, 8, 2, 2) if transposed else nn.Upsample(scale_factor=2)
        self.join2 = block(10 + (8 if transposed else 12), 10)
        self.up1 = nn.ConvTranspose2d(10, 6, 2, 2) if transposed else nn.Upsample(scale_factor=2)
        self.join1 = block(6 + (6 if transposed else 10), 6)
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        x = self.join2(torch.cat([two, self.up2(self.bottom(F.max_pool2d(two, 2)))], 1))
        return self.out(self.join1(torch.cat([one, self.up1(x)], 1)))


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(2, outputs) if inputs == 1 else nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(x.transpose(1, 2).reshape(batch, time, width))


class GptBlock(nn.Module):
    def __init__(self, width: int, swiglu: bool) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, 2)
        self.norm2, self.swiglu = nn.LayerNorm(width), swiglu
        self.fc = nn.Linear(width, 4 * width)
        self.gate = nn.Linear(width, 4 * width) if swiglu else nn.GELU()
        self.proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        x, stream = self.norm2(x), x
        hidden = F.silu(self.gate(x)) * self.fc(x) if self.swiglu else self.gate(self.fc(x))
        return stream + self.proj(hidden)


class Gpt(nn.Module):
    """Tokens in, logits out; the embedding and the last layer share their weight."""

    def __init__(self, swiglu: bool = False) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.blocks = nn.ModuleList(GptBlock(8, swiglu) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        assert tokens.shape[1] <= self.places.num_embeddings
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        for each in self.blocks:
            x = each(x)
        return self.head(self.norm(x))


@dataclass
class Case:
    build: Callable[[], nn.Module]
    example: Callable[[], Tensor]
    gates: int
    units: int
    steps: int = 50
    slow: bool = False


def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, dtype=torch.float64)


def small_rgb() -> Tensor:
    return torch.randn(4, 3, 32, 32, dtype=torch.float64)


def small_images() -> Tensor:
    return torch.randn(4, 1, 16, 16, dtype=torch.float64)


def tokens() -> Tensor:
    return torch.randint(11, (4, 6))


def features() -> Tensor:
    return torch.randn(8, 6, dtype=torch.float64)


def tv(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: getattr(vision, name)(weights=None, num_classes=10, **options)


def vgg_of_small_images() -> nn.Module:
    """With 2² features of each map, not 7², which would be 1 GB of weights and their averages."""
    model = vision.vgg11_bn(weights=None, num_classes=10)
    model.avgpool, model.classifier[0] = nn.AdaptiveAvgPool2d(2), nn.Linear(4 * 512, 4096)
    return model


CASES = {
    "mlp": Case(Mlp, features, 2, 22),
    "U-Net, interpolated": Case(lambda: UNet(False), small_images, 9, 82),
    "U-Net, transposed": Case(lambda: UNet(True), small_images, 11, 96),
    "GPT": Case(Gpt, tokens, 2, 64),
    "GPT, SwiGLU": Case(lambda: Gpt(True), tokens, 2, 64),
    "ViT": Case(
        lambda: vision.VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=10), images, 2, 64
    ),
    "ConvNeXt": Case(
        lambda: vision.ConvNeXt([vision.convnext.CNBlockConfig(8, 16, 2)], num_classes=10),
        images,
        2,
        64,
    ),
    "MobileNetV2, narrow": Case(tv("mobilenet_v2", width_mult=0.1), small_rgb, 18, 2368, slow=True),
    "DenseNet, narrow": Case(
        lambda: vision.DenseNet(4, (2, 2, 1, 1), 8, num_classes=10), small_rgb, 6, 96
    ),
    "ResNet, narrow": Case(
        lambda: vision.ResNet(
            vision.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10, width_per_group=8
        ),
        small_rgb,
        9,
        304,
        slow=True,
    ),
    "ResNet-18": Case(tv("resnet18"), images, 8, 1920, FEW),
    "SqueezeNet": Case(tv("squeezenet1_1"), images, 25, 2944),
    "ResNet-50": Case(tv("resnet50"), images, 33, 7616, FEW, slow=True),
    "VGG11-BN": Case(vgg_of_small_images, images, 10, 10944, FEW, slow=True),
    "MobileNetV2": Case(tv("mobilenet_v2"), images, 20, 8752, FEW, slow=True),
    "MobileNetV3": Case(tv("mobilenet_v3_small"), images, 23, 4664, slow=True),
    "DenseNet-121": Case(tv("densenet121"), images, 58, 7424, FEW, slow=True),
    "GoogLeNet": Case(
        tv("googlenet", aux_logits=False, init_weights=False), images, 57, 7280, FEW, slow=True
    ),
    "ConvNeXt-tiny": Case(tv("convnext_tiny"), images, 18, 26496, FEW, slow=True),
}


def cases(*, slow: bool = True) -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.slow if case.slow else ())
        for name, case in CASES.items()
        if slow or not case.slow
    ]


def built(name: str) -> tuple[nn.Module, Tensor]:
    """The model in float64, without dropout, its norms with statistics of their own."""
    torch.manual_seed(0)
    model, example = CASES[name].build().double(), CASES[name].example()
    for module in model.modules():
        if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.bias, -0.5, 0.5)  # at birth it is 0, as if it shifted nothing
    return model, example


@contextmanager
def held(model: nn.Module, values: dict[str, Tensor]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, gate in named_gates(model).items():
            stack.enter_context(gate.hold(values[name]))
        yield


def outputs(model: nn.Module, example: Tensor, values: dict[str, Tensor]) -> Tensor:
    with torch.no_grad(), evaluating(model), held(model, values):
        return model(example)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    example: Tensor,
    draws: list[dict[str, Tensor]],
) -> None:
    model.train()
    for values in draws:
        optimizer.zero_grad()
        with held(model, values):
            model(example).sub(1.0).square().mean().backward()
        # Without it, norms of few values make a difference in the last bit a hundredfold a step.
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "optimize"),
    [
        pytest.param(
            name, optimize, marks=pytest.mark.slow if case.slow or case.units > 1000 else ()
        )
        for name, case in CASES.items()
        for optimize in ("SGD", "Adam")
    ],
)
def test_closed_units_leave_exactly_and_training_goes_on_as_if_they_had_stayed(
    name: str, optimize: str
) -> None:
    model, example = built(name)
    plain_names = list(model.state_dict())
    places = insert_gates_(model, example)
    assert (len(places), sum(place.units for place in places)) == (
        CASES[name].gates,
        CASES[name].units,
    )

    def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
        if optimize == "Adam":
            return torch.optim.Adam(model.parameters(), 1e-5, eps=1e-3)
        return torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9, weight_decay=1e-3)

    optimizer = optimizer_of(model)
    keep = {p.gate: torch.rand(p.units) < 0.6 for p in places}
    for mask in keep.values():
        mask[0] = True

    def draws(steps: int, closed: bool) -> list[dict[str, Tensor]]:
        return [
            {
                p.gate: (torch.rand(len(example), p.units) < 0.8).double()
                * (keep[p.gate] if closed else 1.0)
                for p in places
            }
            for _ in range(steps)
        ]

    train(model, optimizer, example, draws(3, closed=False))
    masked = copy.deepcopy(model)
    masked_optimizer = optimizer_of(masked)
    masked_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))

    removed = compact_(model, {name: ~mask for name, mask in keep.items()}, example, optimizer)
    assert removed == sum(int((~mask).sum()) for mask in keep.values()) > 0
    closed = {name: mask.double().unsqueeze(0) for name, mask in keep.items()}
    all_open = {name: torch.ones(1, gate.num_units) for name, gate in named_gates(model).items()}
    torch.testing.assert_close(
        outputs(model, example, all_open), outputs(masked, example, closed), rtol=0, atol=TOLERANCE
    )
    further = draws(CASES[name].steps, closed=True)
    train(masked, masked_optimizer, example, further)
    smaller = [{name: v[:, keep[name]] for name, v in values.items()} for values in further]
    train(model, optimizer, example, smaller)
    expected = outputs(masked, example, closed)
    torch.testing.assert_close(outputs(model, example, all_open), expected, rtol=0, atol=TOLERANCE)
    for gate in named_gates(model).values():
        gate.theta.data.fill_(1.0)
    plain = export(model.eval())
    assert list(plain.state_dict()) == plain_names
    assert not any(isinstance(module, (BernoulliGate, Gated)) for module in plain.modules())
    torch.testing.assert_close(plain(example), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", cases(slow=False))
def test_gates_that_are_open_change_nothing_and_parameters_stay_the_same(name: str) -> None:
    model, example = built(name)
    parameters = {name: parameter for name, parameter in model.named_parameters()}
    before = model.eval()(example)
    random_state = torch.get_rng_state()
    insert_gates_(model, example)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not model.training
    assert torch.equal(model(example), before)
    assert set(model.parameters()) == set(parameters.values())
    for gate in named_gates(model).values():
        gate.theta.data.fill_(1.0)
    assert dict(export(model).named_parameters()).keys() == parameters.keys()


def test_the_table_names_gates_and_says_why_other_layers_have_none() -> None:
    model, example = built("mlp")
    places = insert_gates_(model, example)
    assert str(places).splitlines() == [
        "gate         layer   units  dim",
        "norm.gate    first      12    1",
        "second.gate  second     10    1",
        "",
        "no gate  reason",
        "third    read by 'both', whose weight is used 2 times",
        "both     called 2 times",
        "out      output of the model",
    ]


REASONS: dict[str, dict[str, str]] = {
    "ResNet-18": {
        "conv1": "added to other units (a residual connection)",
        "layer2.0.downsample.0": "added to other units (a residual connection)",
        "fc": "output of the model",
    },
    "ViT": {
        "conv_proj": "joined with other values of its units (a class token, say)",
        "encoder.layers.encoder_layer_0.self_attention.out_proj": "never called as a module "
        "(attention's own, say)",
        "encoder.layers.encoder_layer_0.mlp.3": "added to other units (a residual connection)",
        "heads.head": "output of the model",
    },
    "GPT": {
        "blocks.0.attention.qkv": "split or merged by a reshape (attention heads, say)",
        "blocks.0.attention.proj": "added to other units (a residual connection)",
        "blocks.1.proj": "added to other units (a residual connection)",
        "head": "its weight is used 2 times",
    },
    "GPT, SwiGLU": {"blocks.0.fc": "multiplied by the gated units of 'blocks.0.gate'"},
    "U-Net, transposed": {"down1.3": "read by a group norm"},
}


@pytest.mark.parametrize("name", list(REASONS))
def test_layers_are_left_for_a_reason(name: str) -> None:
    model, example = built(name)
    left = insert_gates_(model, example).left
    assert {layer: left.get(layer) for layer in REASONS[name]} == REASONS[name]


def test_a_trial_finds_what_cannot_leave_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(model: nn.Module, dead: dict[str, Tensor], inputs: Inputs) -> int:
        tried.append(list(dead))
        if "norm.gate" in dead:
            raise CompactionError("gate 'norm.gate' cannot be compacted")
        return compact_(model, dead, inputs)

    monkeypatch.setattr("pruning_core.insertion.compact_", refuse)
    model, example = built("mlp")
    places = insert_gates_(model, example)
    assert [place.gate for place in places] == ["second.gate"]
    assert places.left["first"] == "gate 'norm.gate' cannot be compacted"
    assert tried == [["norm.gate", "second.gate"], ["second.gate"]]


class Around(nn.Module):
    """A layer with a function of x around it."""

    def __init__(self, function: Callable[["Around", Tensor], Tensor], width: int = 8) -> None:
        super().__init__()
        self.function = function
        self.conv, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


FUNCTIONS: dict[str, tuple[Callable[[Around, Tensor], Tensor], str]] = {
    "mean and standard deviation by hand": (
        lambda s, x: s.last((y := s.conv(x)) - y.mean(1, keepdim=True)),
        "read by mean across units",
    ),
    "softmax": (lambda s, x: s.last(s.conv(x).softmax(1)), "read by softmax"),
    "layer norm": (
        lambda s, x: s.last(F.layer_norm(y := s.conv(x), y.shape[1:])),
        "read by a layer norm",
    ),
    "normalize": (lambda s, x: s.last(F.normalize(s.conv(x), dim=1)), ""),
    "sigmoid": (lambda s, x: s.last(s.conv(x).sigmoid()), "shifted by sigmoid"),
    "plus one": (lambda s, x: s.last(s.conv(x) + 1.0), "shifted by an addition"),
    "batch norm twice": (lambda s, x: s.last(s.norm(s.norm(s.conv(x)))), "read by a batch norm"),
    "half of the channels": (
        lambda s, x: s.last(torch.cat([(y := s.conv(x))[:, :4], y[:, 4:]], 1)),
        "sliced across units",
    ),
    "shuffle": (
        lambda s, x: s.last(s.conv(x).view(4, 2, 4, 8, 8).transpose(1, 2).reshape(4, 8, 8, 8)),
        "split or merged by a reshape (attention heads, say)",
    ),
    "roll": (lambda s, x: s.last(s.conv(x).roll(1, 1)), "read by roll"),
    "returned too": (
        lambda s, x: torch.cat([s.last(y := s.conv(x)).flatten(1), y.flatten(1)], 1),
        "output of the model",
    ),
    "attention pooling": (
        lambda s, x: s.last((y := s.conv(x)) @ y.transpose(2, 3)),
        "read by matmul",
    ),
    "by way of NumPy": (
        lambda s, x: s.last(torch.from_numpy(s.conv(x).detach().numpy().copy())),
        "read by nothing that can be seen",
    ),
}


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_functions_between_a_layer_and_the_next_forbid_a_gate(name: str) -> None:
    torch.manual_seed(0)
    function, reason = FUNCTIONS[name]
    model = Around(function)
    with pytest.raises(ValueError, match="no layer of Around can have a gate") as caught:
        insert_gates_(model, torch.randn(4, 3, 8, 8))
    assert f"conv: {reason}" in str(caught.value)
    assert not any(isinstance(module, Gated) for module in model.modules())


ALLOWED: dict[str, Callable[[Around, Tensor], Tensor]] = {
    "gelu of the norm": lambda s, x: s.last(F.gelu(s.norm(s.conv(x)))),
    "x · sigmoid(x)": lambda s, x: s.last((y := s.norm(s.conv(x))) * y.sigmoid()),
    "x + relu(x)": lambda s, x: s.last((y := s.norm(s.conv(x))) + F.relu(y)),
    "padded and pooled": lambda s, x: s.last(F.avg_pool2d(F.pad(s.norm(s.conv(x)), (1, 1)), 2)),
    "twice side by side": lambda s, x: s.last(
        torch.cat([y := s.norm(s.conv(x)), F.interpolate(y, scale_factor=1.0)], 2)
    ),
    "strided": lambda s, x: s.last(s.norm(s.conv(x))[:, :, ::2, 1:]),
    "mean over places": lambda s, x: s.last(s.norm(s.conv(x)).mean((2, 3), keepdim=True)),
    "in place": lambda s, x: s.last(s.norm(s.conv(x)).relu_().mul_(2.0)),
    "channels last and back": lambda s, x: s.last(
        F.silu(s.norm(s.conv(x)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    ),
}


@pytest.mark.parametrize("name", list(ALLOWED))
def test_functions_that_keep_zeros_do_not(name: str) -> None:
    torch.manual_seed(0)
    places = insert_gates_(Around(ALLOWED[name]), torch.randn(4, 3, 8, 8))
    assert [(place.gate, place.layer, place.dim) for place in places] == [("norm.gate", "conv", 1)]


@pytest.mark.parametrize(
    ("ignore", "only", "layers"),
    [
        (["blocks.0"], None, ["blocks.1.fc"]),
        (["blocks.*.fc"], None, None),
        ([], ["blocks.1"], ["blocks.1.fc"]),
        ([], ["*.fc"], ["blocks.0.fc", "blocks.1.fc"]),
        (["blocks.0.fc"], ["blocks"], ["blocks.1.fc"]),
    ],
)
def test_layers_are_chosen_by_name_or_pattern(
    ignore: list[str], only: list[str] | None, layers: list[str] | None
) -> None:
    model, example = built("GPT")
    if layers is None:
        with pytest.raises(ValueError, match="no layer of Gpt can have a gate"):
            insert_gates_(model, example, ignore=ignore, only=only)
        return
    places = insert_gates_(model, example, ignore=ignore, only=only)
    assert [place.layer for place in places] == layers
    assert not any(name.startswith("blocks.0") for name in places.left if only == ["blocks.1"])


def test_bad_input_is_refused_before_anything_changes() -> None:
    model, example = built("mlp")
    names = list(model.state_dict())
    with pytest.raises(ValueError, match=r"'block\.0' matches no linear or convolution layer"):
        insert_gates_(model, example, ignore=["block.0"])
    with pytest.raises(
        ValueError, match=r"Mlp cannot be copied and run on the example inputs: .*mat"
    ):
        insert_gates_(model, torch.randn(4, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"wrapped \(DataParallel\); insert the gates into the"):
        insert_gates_(nn.DataParallel(model), example)
    insert_gates_(model, example)
    with pytest.raises(ValueError, match=r"first: has the gate 'norm\.gate' already"):
        insert_gates_(model, example)
    for gate in named_gates(model).values():
        gate.theta.data.fill_(1.0)
    assert list(export(model).state_dict()) == names


def test_the_encoder_layer_of_torch_does_not_compute_past_its_gate() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    example = torch.randn(4, 5, 8)
    places = insert_gates_(layer, example)
    assert [(place.layer, place.units, place.dim) for place in places] == [("linear1", 16, -1)]
    (gate,) = named_gates(layer).values()
    layer.eval()
    with torch.no_grad():
        before = layer(example)
        gate.theta.data[:8] = 0.0
        closed = layer(example)
        assert not torch.allclose(closed, before)
        compact_(layer, {places.places[0].gate: torch.arange(16) < 8}, example)
        torch.testing.assert_close(layer(example), closed)
    gate.theta.data.fill_(1.0)
    torch.testing.assert_close(export(layer)(example), closed)


def test_what_the_model_asks_of_a_gated_module_it_answers() -> None:
    layer = nn.Linear(3, 4)
    gated = copy.deepcopy(Gated(layer, BernoulliGate(4)))
    assert gated.out_features == 4
    assert gated.weight is gated.module.weight
    with pytest.raises(AttributeError, match="nothing"):
        _ = gated.nothing


def test_the_auxiliary_heads_of_googlenet_get_no_gates_of_their_own() -> None:
    torch.manual_seed(0)
    model = vision.googlenet(weights=None, num_classes=10, aux_logits=True, init_weights=False)
    places = insert_gates_(model, torch.randn(2, 3, 64, 64), only=["aux1", "inception3a"])
    assert all(place.layer.startswith("inception3a") for place in places)
    assert places.left["aux1.fc1"] == "called in training only"
