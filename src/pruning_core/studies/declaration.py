"""What a study runs, as ``studies/NAME.toml`` declares it."""

from __future__ import annotations

import hashlib
import json
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

from pruning_core.experiments.data import DATASETS, Split
from pruning_core.experiments.flags import as_flags
from pruning_core.experiments.settings import (
    OF_SURVIVORS,
    READERS,
    Settings,
    read,
    reads,
    recommended,
)

_KEYS = {"title", "seeds", "first_seed", "dataset", "split", "settings", "grid", "points"}
_OTHERS = {"claims", "abstracts"}
_DEFAULTS = {f.name: f.default for f in fields(Settings)}


class StudyError(ValueError):
    """A study that cannot be declared, found, run or recorded: what is wrong, and the remedy."""


@dataclass(frozen=True)
class Run:
    """One training run of a study.

    Attributes:
        point: the name of its settings within the study; runs of one point differ in their seed.
        settings: all of them.
        dataset: a name that :func:`pruning_core.experiments.data.load` knows, or a folder, as
            :func:`is_folder` tells; seen from the folder of ``studies/``, unless it is absolute.
        split: "test" or "validation".
    """

    point: str
    settings: Settings
    dataset: str = "mnist"
    split: str = "test"

    @property
    def key(self) -> str:
        """A hash of everything that decides the outcome; twelve hexadecimal digits.

        Settings that the method does not read take no part, nor do those at the default of
        :class:`Settings`: a setting that is new leaves the keys of earlier runs as they were.
        """
        unread = READERS.keys() - reads(self.settings.method)
        told = {
            name: getattr(self.settings, name)
            for name, default in _DEFAULTS.items()
            if name not in unread and getattr(self.settings, name) != default
        }
        told |= {
            "model": self.settings.model,
            "method": self.settings.method,
            "dataset": self.dataset,
            "split": self.split,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def stem(self) -> Run:
        """What the run is until its survivors train on, all of it if they do not."""
        usual = {name: _DEFAULTS[name] for name in OF_SURVIVORS}
        return replace(self, settings=replace(self.settings, **usual))

    @property
    def command(self) -> str:
        """What trains this run alone, for a shell."""
        words = ["pruning-core", "train", *as_flags(self.settings)]
        if self.split != "test":
            words += ["--split", self.split]
        if is_folder(self.dataset):
            words += ["--data", self.dataset]
        elif self.dataset != "mnist":
            words += ["--dataset", self.dataset]
        return shlex.join(words)


@dataclass(frozen=True)
class Study:
    """A question, and the runs that answer it.

    Attributes:
        name: that of its file.
        title: what it asks.
        runs: of all points and seeds.
        labels: by point, what readers call it.
    """

    name: str
    title: str
    runs: tuple[Run, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def points(self) -> list[str]:
        """Names of the settings, in the order of the declaration."""
        return list(dict.fromkeys(run.point for run in self.runs))


def is_folder(dataset: str) -> bool:
    """Whether the ``dataset`` of a run is a folder, which has a slash; or a name."""
    return "/" in dataset or Path(dataset).is_absolute()


def names(folder: Path) -> list[str]:
    """Of all studies declared in a folder."""
    return [path.stem for path in sorted(folder.glob("*.toml")) if path.stem not in _OTHERS]


def load_study(name: str, folder: Path) -> Study:
    """Read a declaration.

    Its keys are ``title``; ``seeds``, how many, from ``first_seed`` on, which is 0 if left out;
    ``dataset`` and ``split``, "mnist" and
    "test" if left out; ``[settings]`` of every run, as far as they differ from those recommended
    for the model and the method; ``[points.NAME]``, settings by name; ``[grid]``, a list of values
    for each of some settings, whose combinations are points, of every named one if there are any.
    ``seeds``, ``first_seed`` and ``grid`` within a point are for that one alone, and so is
    ``label``, what readers call it, with settings of the point in braces; a point without one is
    called by its name.

    Raises:
        StudyError: if there is no such study, or it declares what does not exist.
    """
    path = folder / f"{name}.toml"
    if name not in (known := names(folder)):
        there = ", ".join(known) or "none at all; name the folder of studies/ by --root"
        raise StudyError(f"no study {name!r} in {folder}; there is {there}")
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {error}") from error
    try:
        _check(declared)
        runs = tuple(_runs(declared))
        _check_distinct(runs)
        return Study(name, declared["title"], runs, _labels(declared))
    except KeyError as error:
        raise StudyError(f"{path} lacks {error}") from error
    except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise StudyError(f"{path}: {error}") from error


def _check(declared: Mapping[str, Any]) -> None:
    if unknown := set(declared) - _KEYS:
        raise ValueError(f"unknown keys {sorted(unknown)}; {', '.join(sorted(_KEYS))} are known")
    _table("settings", declared.get("settings", {}))
    grids = {"grid": declared.get("grid", {})}
    for name, point in _table("points", declared.get("points", {})).items():
        grids[f"points.{name}.grid"] = _table(f"points.{name}", point).get("grid", {})
    for where, grid in grids.items():
        for key, values in _table(where, grid).items():
            if not (isinstance(values, list) and values):
                raise ValueError(f"{key} of {where} is {values!r}; a list of values was expected")
    dataset = declared.get("dataset", "mnist")
    if not isinstance(dataset, str) or not (is_folder(dataset) or dataset in DATASETS):
        raise ValueError(
            f"dataset is {dataset!r}; {', '.join(DATASETS)}, or a folder with a slash in its path "
            "(./NAME), was expected"
        )
    if not isinstance(declared["title"], str):
        raise ValueError(f"title is {declared['title']!r}; text was expected")


def _table(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {value!r}; a table was expected")
    return value


def _check_distinct(runs: Iterable[Run]) -> None:
    points: dict[str, str] = {}
    for run in runs:
        if (other := points.setdefault(run.key, run.point)) != run.point:
            raise ValueError(
                f"the points {other!r} and {run.point!r} have the same settings; drop one of them"
            )


def _runs(declared: Mapping[str, Any]) -> Iterator[Run]:
    split = declared.get("split", "test")
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; {' or '.join(get_args(Split))} was expected")
    dataset = declared.get("dataset", "mnist")
    for point, settings in _points(declared):
        first = declared.get("first_seed", 0)
        changes = {"seeds": declared["seeds"], "first_seed": first} | settings
        seeds, first = changes.pop("seeds"), changes.pop("first_seed")
        changes.pop("label", None)
        if type(seeds) is not int or seeds < 1:
            raise ValueError(f"seeds is {seeds!r}; a number of runs, at least 1, was expected")
        if type(first) is not int or first < 0:
            raise ValueError(f"first_seed is {first!r}; a whole number from 0 was expected")
        model, method = changes.pop("model", None), changes.pop("method", None)
        if model is None or method is None:
            raise ValueError(f"the point {point!r} has no model or no method")
        if "seed" in changes:
            raise ValueError("seed is set; say how many with seeds, above the tables")
        full = recommended(model, method, **read(changes))
        for seed in range(first, first + seeds):
            yield Run(point, replace(full, seed=seed), dataset, split)


def _labels(declared: Mapping[str, Any]) -> dict[str, str]:
    """By point, its label with the settings that it names filled in."""
    return {
        point: str(settings.get("label", point)).format_map(settings)
        for point, settings in _points(declared)
    }


def _points(declared: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, settings in (declared.get("points") or {"": {}}).items():
        settings = declared.get("settings", {}) | settings
        grid = declared.get("grid", {}) | settings.pop("grid", {})
        for combination in product(*grid.values()):
            chosen = dict(zip(grid, combination, strict=True))
            parts = [name] if name else []
            parts += [f"{key}={value}" for key, value in chosen.items()]
            yield " ".join(parts) or "only", settings | chosen
