"""Run what a study still lacks: on this machine's cores, or on a Dask cluster."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from pruning_core.experiments.checkpoint import CHECKPOINT_FILE
from pruning_core.experiments.data import DataError, Dataset, load
from pruning_core.experiments.run import TrainingError
from pruning_core.experiments.runs import SUMMARY_FILE, TRAJECTORY_FILE, train
from pruning_core.files import make_writable, read_regular, write_atomically
from pruning_core.studies.declaration import Run, Study, StudyError, is_folder
from pruning_core.studies.records import adopt, as_tables, forget, record, table

ANSWER = 10.0
"""Seconds that a scheduler has to answer in."""

PATIENCE = 5.0
"""Seconds without a run that ends, after which workers of a cluster are asked for."""

BYTES_PER_RUN = 20_000_000
"""Room that the checkpoint and the model of a run may take, generously."""


def run_study(
    study: Study,
    root: Path,
    *,
    jobs: int = -1,
    scheduler: str | None = None,
) -> None:
    """Train every run that ``results/`` does not hold yet, and record it there when it ends.

    What another study has recorded is taken over from there.

    A run works in ``runs/KEY``, with a lock that the operating system frees if its process dies:
    the next one resumes from the checkpoint. Runs that another process works on are waited for.

    Args:
        study: what to run.
        root: the folder of ``runs/`` and ``results/``.
        jobs: processes at a time, with one thread each; −1 for one a core.
        scheduler: address of a Dask scheduler, whose workers see the same folder, in place of
            this machine's cores.

    Raises:
        StudyError: before anything starts, if a folder cannot be written, the disk is too full,
            or no scheduler answers; and once all others are recorded, if runs failed, with the
            reason of each in a note.
    """
    if jobs == 0:
        raise StudyError("0 jobs were asked for; at least 1, or -1 for one a core, was expected")
    root = root.resolve()
    missing = unfinished(study, root)
    _check_room(root, len(missing))
    with _recording(study, root):
        adopt(study, root / "results")
    missing = unfinished(study, root)
    total = _epochs(study.runs)
    done = total - _epochs(missing)
    quiet = not sys.stderr.isatty()
    failed: dict[str, str] = {}
    with tqdm(total=total, initial=done, unit="epoch", disable=quiet) as bar:
        while missing:
            lengths = {run.key: run.settings.total_epochs for run in missing}
            for ended in _ended(missing, root, jobs, scheduler):
                if isinstance(ended, Failure):
                    failed[ended.key] = ended.reason
                elif ended is not None:
                    _keep(study, root, ended)
                    bar.update(lengths[ended.key])
            missing = [run for run in unfinished(study, root) if run.key not in failed]
            if missing:
                # Another process is at them.
                time.sleep(1)
    if failed:
        raise _failures(study, failed)


def start_over(study: Study, root: Path, point: str) -> int:
    """Forget the runs of a point, so that :func:`run_study` trains them anew.

    Returns:
        How many were recorded.

    Raises:
        StudyError: if the study has no such point, or a folder cannot be written.
    """
    _check_room(root, 0)
    with _recording(study, root):
        forgotten = forget(study, root / "results", point)
    for run in study.runs:
        if run.point == point:
            for place in (root / "runs" / run.key, _stem(run, root / "runs")):
                shutil.rmtree(place, ignore_errors=True)
    return forgotten


def unfinished(study: Study, root: Path) -> list[Run]:
    """Runs that ``results/`` does not hold: one seed of every point before the next."""
    recorded = set(table(study, root / "results")["run"])
    missing = (run for run in study.runs if run.key not in recorded)
    return sorted(missing, key=lambda run: run.settings.seed)


class Finding(NamedTuple):
    """What a finished run left."""

    key: str
    summary: dict[str, Any]
    trajectory: list[dict[str, Any]]


class Failure(NamedTuple):
    """Why a run did not finish."""

    key: str
    reason: str


def execute(run: Run, folder: Path) -> Finding | Failure | None:
    """Train one run in ``folder``/KEY, or read it if it is finished; None if it is locked."""
    try:
        with FileLock(folder / f"{run.key}.lock", blocking=False):
            return _trained(run, folder)
    except Timeout:
        return None
    except (TrainingError, DataError, StudyError) as error:
        return Failure(run.key, str(error))
    except Exception as error:
        # One run that cannot be trained is no reason to give up the others.
        return Failure(run.key, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _trained(run: Run, folder: Path) -> Finding:
    place = folder / run.key
    if not (place / SUMMARY_FILE).exists():
        torch.set_num_threads(1)
        data = _dataset(run.dataset, run.split, folder.parent)
        if run.stem != run and not (place / CHECKPOINT_FILE).exists():
            _branch(run, data, folder)
        train(run.settings, data, place, resume=True)
    (place / CHECKPOINT_FILE).unlink(missing_ok=True)
    try:
        summary, trajectory = (
            json.loads((place / name).read_text(encoding="utf-8"))
            for name in (SUMMARY_FILE, TRAJECTORY_FILE)
        )
        as_tables(run, summary, trajectory)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise StudyError(
            f"{place} is damaged ({type(error).__name__}: {error}); delete it, to have the run "
            "trained again"
        ) from error
    return Finding(run.key, summary, trajectory)


def _branch(run: Run, data: Dataset, folder: Path) -> None:
    """Begin a run where its stem ends, which is trained once for all runs that share it.

    To the bit it is the run that begins at the beginning.

    Raises:
        Timeout: if another process trains the stem.
    """
    stem = _stem(run, folder)
    with FileLock(f"{stem}.lock", blocking=False):
        train(run.stem.settings, data, stem, resume=True)
        make_writable(folder / run.key)
        write_atomically(folder / run.key / CHECKPOINT_FILE, read_regular(stem / CHECKPOINT_FILE))


def _stem(run: Run, folder: Path) -> Path:
    """Where the stem of a run is trained; not where a study has it as a run of its own."""
    return folder / f"{run.stem.key}-stem"


def _failures(study: Study, failed: Mapping[str, str]) -> StudyError:
    """With a note for each point and reason: the seeds that failed."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for run in study.runs:
        if run.key in failed:
            found = seeds.setdefault((run.point, failed[run.key]), [])
            found.append(str(run.settings.seed))
    error = StudyError(f"{len(failed)} of {len(study.runs)} runs failed; all others are recorded")
    for (point, reason), found in seeds.items():
        error.add_note(f"{point}, seed{'s' * (len(found) > 1)} {', '.join(found)}: {reason}")
    return error


def _epochs(runs: Iterable[Run]) -> int:
    return sum(run.settings.total_epochs for run in runs)


def _ended(
    runs: Sequence[Run], root: Path, jobs: int, scheduler: str | None
) -> Iterator[Finding | Failure | None]:
    """Of each run, as soon as it ends."""
    folder = root / "runs"
    if scheduler is None:
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
        try:
            yield from parallel(delayed(execute)(run, folder) for run in runs)
        except TerminatedWorkerError as error:
            raise StudyError(
                "the system killed a worker, most likely for want of memory; start the study "
                "again with fewer --jobs, and it goes on where it was"
            ) from error
        return
    yield from _on_a_cluster(runs, folder, scheduler)


def _on_a_cluster(
    runs: Sequence[Run], folder: Path, scheduler: str
) -> Iterator[Finding | Failure | None]:
    from distributed import CancelledError, Client, KilledWorker

    try:
        client = Client(scheduler, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise StudyError(f"no Dask scheduler answers at {scheduler} ({error})") from error
    # It would tell of a lost scheduler in many lines of its own.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with client:
        # A run is tried again where its worker has died, from its checkpoint.
        futures = client.map(execute, runs, folder=folder, pure=False)
        keys = {future: run.key for future, run in zip(futures, runs, strict=True)}
        ended: Queue[Any] = Queue()
        for future in futures:
            future.add_done_callback(ended.put)
        told = False
        while keys:
            try:
                future = ended.get(timeout=PATIENCE)
            except Empty:
                if not (told or client.scheduler_info()["workers"]):
                    told = True
                    tqdm.write(f"no worker is connected to {scheduler}: waiting", file=sys.stderr)
                continue
            key = keys.pop(future)
            try:
                result = future.result()
            except KilledWorker:
                result = Failure(key, "every worker that took it died, perhaps for want of memory")
            except CancelledError as error:
                raise StudyError(
                    f"the Dask scheduler at {scheduler} is gone; what has ended is recorded, and "
                    "the study goes on where it was when it is started again"
                ) from error
            yield result


def _keep(study: Study, root: Path, found: Finding) -> None:
    with _recording(study, root):
        record(study, root / "results", {found.key: (found.summary, found.trajectory)})


def _recording(study: Study, root: Path) -> FileLock:
    """One process at a time writes the files of a study."""
    return FileLock(root / "runs" / f"{study.name}.lock")


@lru_cache(maxsize=2)
def _dataset(name: str, split: str, root: Path) -> Dataset:
    """Loaded once in each process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = root / name if is_folder(name) else None
    return load(None if folder else name, folder, split=split, device=device)  # type: ignore[arg-type]


def _check_room(root: Path, runs: int) -> None:
    for folder in (root / "runs", root / "results"):
        try:
            make_writable(folder)
        except OSError as error:
            raise StudyError(
                f"cannot write to {folder}: {error.strerror}; make room, or choose another --root"
            ) from error
    free = shutil.disk_usage(root).free
    if free < runs * BYTES_PER_RUN:
        raise StudyError(
            f"{free / 1e9:.1f} GB are free in {root}; {runs} runs may need "
            f"{runs * BYTES_PER_RUN / 1e9:.1f} GB: make room, or choose another --root"
        )
