"""An archive: the studies of a folder and what they found, each file read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pruning_core.studies import declaration

# Whoever only trains needs no pandas: what reads tables is imported where it is called.
if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd


T = TypeVar("T")


class Archive:
    """What the folders ``studies/`` and ``results/`` hold, read once, and anew after a change.

    ``archive / "studies"`` is the path of what lies in it, as with a ``Path``.

    Args:
        root: the folder of both; either may be missing.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)
        self._kept: dict[tuple[object, ...], tuple[list[object], Any]] = {}

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def __fspath__(self) -> str:
        return str(self.root)

    @property
    def studies(self) -> Path:
        """The folder of declarations."""
        return self.root / "studies"

    @property
    def results(self) -> Path:
        """The folder of what was found."""
        return self.root / "results"

    def names(self) -> list[str]:
        """Of all studies that are declared."""
        return declaration.names(self.studies)

    def study(self, name: str) -> declaration.Study:
        """A declaration, as :func:`pruning_core.studies.declaration.load_study` reads it."""
        return self._from(
            (self.studies / f"{name}.toml",),
            ("study", name),
            lambda: declaration.load_study(name, self.studies),
        )

    def table(self, name: str) -> pd.DataFrame:
        """The recorded runs of a study, as :func:`pruning_core.studies.records.table`."""
        from pruning_core.studies import records

        return self._from(
            self._files(name, ".csv"),
            ("table", name),
            lambda: records.table(self.study(name), self.results),
        ).copy()

    def rows(self, name: str) -> pd.DataFrame:
        """They, with the shares that :func:`pruning_core.studies.records.measures` adds."""
        from pruning_core.studies import records

        return self._from(
            self._files(name, ".csv"),
            ("rows", name),
            lambda: records.measures(self.table(name)),
        ).copy()

    def trajectories(self, name: str) -> pd.DataFrame:
        """Their epochs, as :func:`pruning_core.studies.records.trajectories`."""
        from pruning_core.studies import records

        return self._from(
            self._files(name, ".parquet"),
            ("trajectories", name),
            lambda: records.trajectories(self.study(name), self.results),
        ).copy()

    def read(self, reader: Callable[[Path], T], path: Path) -> T:
        """What a reader makes of one of the files; nobody may change it."""
        return self._from((path,), (reader, path), lambda: reader(path))

    def _files(self, name: str, suffix: str) -> tuple[Path, Path]:
        return self.studies / f"{name}.toml", self.results / f"{name}{suffix}"

    def _from(self, paths: tuple[Path, ...], key: tuple[object, ...], make: Callable[[], T]) -> T:
        """What was made of these files, as long as they are as they were then."""
        now = [_stamp(path) for path in paths]
        if key not in self._kept or self._kept[key][0] != now:
            self._kept[key] = now, make()
        return self._kept[key][1]


def _stamp(path: Path) -> object:
    """Another one whenever the file has changed; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
