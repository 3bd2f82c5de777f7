"""Tests of pruning_core.studies.networks."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pruning_core.experiments.runs import SUMMARY_FILE
from pruning_core.export import load_model, save_model
from pruning_core.metrics import weighted_layers
from pruning_core.models import build_model
from pruning_core.studies import tables
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import StudyError
from pruning_core.studies.networks import at_work, keep

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "results" / "models"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """The studies and records of the repository, to write beside."""
    for name in ("studies", "results"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("models"))
    return Archive(tmp_path)


def trained(folder: Path, archive: Archive, **changes: object) -> Path:
    """A dense run as it is left on disk."""
    rows = tables.runs(archive, "training-cost").set_index("run")
    row = rows.loc["633fce666785"]
    folder.mkdir()
    model = build_model("lenet-300-100", gated=False, num_classes=10)
    save_model(model, folder, name="lenet-300-100", gated=False, num_classes=10)
    summary = {
        "settings": json.loads(str(row["settings"])) | changes,
        "dataset": "mnist",
        "split": "test",
        "versions": {"cpu": "a processor"},
        "test_error_percent": 1.5,
        "weights_kept": 266_200,
    }
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))
    return folder


def test_the_network_of_a_recorded_run_is_kept_rounded_with_what_was_measured(
    tmp_path: Path, archive: Archive
) -> None:
    run = trained(tmp_path / "run", archive)
    folder = keep(archive, run, "lenet-300-100-mine")
    assert folder == tmp_path / "results" / "models" / "lenet-300-100-mine"
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {
            "run": "633fce666785",
            "cpu": "a processor",
            "test_error_percent": "1.5",
            "weights_kept": "266200",
        }
        assert file.get_tensor("fc1.weight").dtype == torch.float16
    image = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(
        load_model(folder)(image), load_model(run)(image), atol=2e-3, rtol=2e-3
    )


def test_a_run_that_is_not_recorded_is_not_kept(tmp_path: Path, archive: Archive) -> None:
    run = trained(tmp_path / "run", archive, seed=12345)
    with pytest.raises(StudyError, match=r"no row of results/ has its settings \(\w{12}\)"):
        keep(archive, run, "lenet-300-100-mine")
    assert not (tmp_path / "results" / "models").exists()


@pytest.mark.parametrize("content", [None, "{", "{}", '{"settings": {"method": "magic"}}'])
def test_a_folder_without_a_run_is_named(
    tmp_path: Path, archive: Archive, content: str | None
) -> None:
    if content is not None:
        (tmp_path / SUMMARY_FILE).write_text(content)
    with pytest.raises(StudyError, match=r"holds no run that has ended .*; train one"):
        keep(archive, tmp_path, "lenet-300-100-mine")


def test_at_work_is_what_the_answers_depend_on() -> None:
    """Against the derivative of the answers by what each pixel and each unit says."""
    torch.manual_seed(0)
    model = build_model("lenet-300-100", gated=False, num_classes=10)
    for layer in weighted_layers(model):
        mask = torch.rand_like(layer.weight) < 4 / layer.weight.shape[1]
        layer.weight.data.mul_(mask).abs_()
        layer.get_parameter("bias").data.fill_(0.1)  # so that every unit is on
    image = torch.rand(1, 1, 28, 28, requires_grad=True)
    said: list[torch.Tensor] = []

    def listen(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        said.append(output)

    for layer in weighted_layers(model)[:-1]:
        layer.register_forward_hook(listen)
    answers = model(image).sum()
    by_pixel, *by_unit = torch.autograd.grad(answers, [image, *said])
    pixels, *hidden = at_work(model)
    assert pixels == by_pixel.flatten().nonzero()[:, 0].tolist()
    assert 0 < len(pixels) < 784
    reached = torch.ones(784, dtype=torch.bool)
    for layer, units, gradient in zip(weighted_layers(model), hidden, by_unit, strict=False):
        reached = (layer.weight[:, reached] != 0).any(1)
        both = reached & (gradient[0] != 0)
        assert units == both.nonzero()[:, 0].tolist()
        assert 0 < len(units) < len(reached)


def test_pixels_keep_their_numbers_where_others_have_left() -> None:
    network = load_model(MODELS / "lenet-300-100-price-28")
    pixels, first, second = at_work(network)
    assert pixels == network.state_dict()["gate0.index"].tolist()
    assert [first, second] == [list(range(104)), list(range(58))]
