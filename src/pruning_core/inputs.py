"""What a model is called with, kept to call it again: positional arguments and keywords."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakMethod

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True, eq=False, init=False)
class Inputs:
    """The arguments of one call of a model: ``Inputs(x, mask=mask).call(model)``.

    Tensors may stand inside tuples, lists, dicts and whatever else :mod:`torch.utils._pytree` can
    take apart; other values stay as they are.

    Attributes:
        args: positional arguments.
        kwargs: keywords.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "args", args)
        object.__setattr__(self, "kwargs", kwargs)

    @classmethod
    def of(cls, value: Inputs | Tensor | tuple[Any, ...] | Mapping[str, Any]) -> Inputs:
        """A tensor is one argument, a tuple holds positional arguments, a dict keywords.

        Raises:
            TypeError: for anything else, such as a list, which could mean either.
        """
        if isinstance(value, Inputs):
            return value
        if isinstance(value, Tensor):
            return cls(value)
        if isinstance(value, tuple):
            return cls(*value)
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return cls(**value)
        raise TypeError(
            f"the example inputs are a {type(value).__name__}; a tensor, a tuple of positional "
            "arguments, a dict of keywords, or Inputs(…) as in a call of the model was expected"
        )

    def call(self, model: nn.Module) -> Any:
        """Whatever the model returns for these arguments."""
        return model(*self.args, **self.kwargs)

    def map(self, function: Callable[[Tensor], Any]) -> Self:
        """The same arguments with ``function`` of every tensor in its place."""
        args, kwargs = tree_map_only(Tensor, function, (self.args, dict(self.kwargs)))
        return type(self)(*args, **kwargs)

    def tensors(self) -> list[Tensor]:
        """Every tensor, in the order of the arguments."""
        leaves = tree_leaves((self.args, dict(self.kwargs)))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def first(self, n: int) -> Self:
        """Detached copies of the first n examples.

        The batch is dimension 0 of the first tensor that has dimensions. A tensor whose dimension
        0 has another size, a mask over positions say, is copied whole.
        """
        sizes = [t.shape[0] for t in self.tensors() if _has_rows(t)]

        def shorten(tensor: Tensor) -> Tensor:
            if _has_rows(tensor) and tensor.shape[0] == sizes[0]:
                tensor = tensor[:n]
            return tensor.detach().clone()

        return self.map(shorten)


class FirstCall:
    """A forward pre-hook that hands the first inputs of a model to a method, once.

    The method is held weakly, and copies and files of the model do not know it, so the hook
    neither keeps its owner alive nor speaks for another model. Under ``torch.compile`` it does
    nothing.

    Args:
        model: that is called.
        receive: a bound method, given the inputs.
    """

    def __init__(self, model: nn.Module, receive: Callable[[Inputs], None]) -> None:
        self._receive: WeakMethod[Callable[[Inputs], None]] | None = WeakMethod(receive)
        self._handle: RemovableHandle | None = model.register_forward_pre_hook(
            self, with_kwargs=True
        )

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling() or self._handle is None or self._receive is None:
            return
        self._handle.remove()
        receive = self._receive()
        if receive is not None:
            receive(Inputs(*args, **kwargs))

    def __getstate__(self) -> dict[str, None]:
        return {"_receive": None, "_handle": None}


def _has_rows(tensor: Tensor) -> bool:
    return not tensor.is_nested and tensor.layout is torch.strided and tensor.dim() > 0
