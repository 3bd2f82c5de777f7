"""The trained networks that are part of the repository, in ``results/models``, in half precision.

    python -m pruning_core.studies.networks RUN NAME

keeps the network of the folder RUN, as ``pruning-core train`` leaves it, under this name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from pruning_core.experiments.runs import SUMMARY_FILE
from pruning_core.experiments.settings import Settings
from pruning_core.export import DESCRIPTION_FILE, WEIGHTS_FILE, load_model
from pruning_core.files import write_atomically
from pruning_core.metrics import weighted_layers
from pruning_core.studies import tables
from pruning_core.studies.archive import Archive
from pruning_core.studies.declaration import Run, StudyError

MODELS = "results/models"


def keep(archive: Archive, run: Path, name: str) -> Path:
    """Write the network of a run to ``results/models``, rounded to float16.

    Its metadata say which run it is (``run``, the key of a recorded row) and what was measured
    when it was trained: not always what the row says, since another processor rounds differently.

    Args:
        archive: the repository.
        run: a folder that holds a model, and the summary of how it was trained.
        name: of the folder to write.

    Raises:
        StudyError: if there is no complete run, or none with its settings is recorded.
        ModelFileError: if its model cannot be read.
    """
    try:
        summary = json.loads((run / SUMMARY_FILE).read_text(encoding="utf-8"))
        settings = Settings.from_json(summary["settings"])
        trained = Run("", settings, summary["dataset"], summary["split"])
        told = {
            "run": trained.key,
            "cpu": str(summary["versions"]["cpu"]),
            "test_error_percent": str(summary["test_error_percent"]),
            "weights_kept": str(summary["weights_kept"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{run} holds no run that has ended ({error}); train one with 'pruning-core train'"
        ) from error
    if trained.key not in set(tables.every_run(archive)["run"]):
        raise StudyError(
            f"{run}: no row of results/ has its settings ({trained.key}); networks of recorded "
            "runs are kept"
        )
    model = load_model(run).half()
    folder = archive / MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    write_atomically(folder / WEIGHTS_FILE, save(tensors, told))
    write_atomically(folder / DESCRIPTION_FILE, (run / DESCRIPTION_FILE).read_bytes())
    return folder


def at_work(model: nn.Module) -> list[list[int]]:
    """Which pixels, and which units of each hidden layer, the answers of a LeNet-300-100 depend on.

    Those on a path of weights that are not zero, from a pixel to an answer: zeros among single
    weights may cut a unit off without removing it. Pixels are numbered 0 to 783, row by row, also
    in a network that has lost some of them.
    """
    layers = [layer.weight != 0 for layer in weighted_layers(model)]
    reached = [torch.ones(layers[0].shape[1], dtype=torch.bool)]
    for weight in layers[:-1]:
        reached.append(weight[:, reached[-1]].any(1))
    reaching = [torch.ones(layers[-1].shape[0], dtype=torch.bool)]
    for weight in reversed(layers):
        reaching.append(weight[reaching[-1]].any(0))
    both = zip(reached, reversed(reaching[1:]), strict=True)
    pixels, *hidden = [(first & second).nonzero()[:, 0] for first, second in both]
    index = model.state_dict().get("gate0.index", torch.arange(layers[0].shape[1]))
    return [index[pixels].tolist(), *(units.tolist() for units in hidden)]


if __name__ == "__main__":
    print(keep(Archive("."), Path(sys.argv[1]), sys.argv[2]))
