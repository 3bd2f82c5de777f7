"""What leaves a network: entries of its tensors by name and axis; and the error where none may."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pruning_core.gates import BernoulliGate


class CompactionError(ValueError):
    """Removing the units is impossible, or would change what the network computes."""


@dataclass
class Removal:
    """What goes, by the numbers that units, channels and features have now.

    Attributes:
        units: by gate.
        sections: gates that close with all that they multiply, in place of units.
        entries: by layer and tensor (``("fc1", "weight")``), and by axis.
        sizes: by layer, the attributes that count them, with their new values.
        features: by input gate, those its input loses.
        readers: gate, layer, and the channels of what the layer reads that leave.
    """

    units: dict[str, list[int]] = field(default_factory=dict)
    sections: list[str] = field(default_factory=list)
    entries: dict[tuple[str, str], dict[int, set[int]]] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    features: dict[str, set[int]] = field(default_factory=dict)
    readers: list[tuple[str, str, list[int]]] = field(default_factory=list)

    def kept(self, layer: str, tensor: str, shape: Iterable[int]) -> dict[int, Tensor]:
        """By axis, the positions that stay in a tensor of that shape; int64, increasing."""
        sizes = list(shape)
        positions = {}
        for axis, gone in self.entries.get((layer, tensor), {}).items():
            mask = torch.ones(sizes[axis], dtype=torch.bool)
            mask[list(gone)] = False
            positions[axis] = mask.nonzero().flatten()
        return positions


def check_masks(
    gates: Mapping[str, BernoulliGate],
    dead: Mapping[str, Tensor],
    leaving: Collection[str] = (),
) -> None:
    """Raises CompactionError for an unknown gate, a mask of another shape, or a gate left empty.

    Those ``leaving`` go with their section, and may be empty.
    """
    for name, mask in dead.items():
        if name not in gates:
            raise CompactionError(f"no gate is called {name!r}; the gates are {sorted(gates)}")
        if mask.dtype != torch.bool or mask.shape != gates[name].theta.shape:
            raise CompactionError(
                f"the mask of gate {name!r} is {mask.dtype} of shape {tuple(mask.shape)}; bool of "
                f"shape ({gates[name].num_units},) was expected"
            )
        if bool(mask.all()) and not gates[name].may_close and name not in leaving:
            raise CompactionError(
                f"gate {name!r} would lose its last unit, and the network its function; keep at "
                "least one unit, or lower log_gamma or the step on theta"
            )


def not_silent(gate: str, layer: str) -> CompactionError:
    """The error for a layer that would hear the closed units."""
    return CompactionError(
        f"closed units of gate {gate!r} do not silence what {layer!r} reads, so removing them "
        "would change the network; put the gate after the normalisation and activation, and gate "
        "every branch of a residual addition"
    )


def said(error: object) -> str:
    """An exception in one line, with the layer it happened in, if that was noted."""
    where = "".join(f" in {note!r}" for note in getattr(error, "__notes__", []))
    return f"{type(error).__name__}{where}: {' '.join(str(error).split())[:200]}"
