"""MNIST and its drop-in relatives as verified tensors in memory, and the batches of an epoch.

A data set is four files in MNIST's idx format. Those of MNIST itself are part of the repository,
torchvision fetches those of Fashion-MNIST and KMNIST, any other folder of them loads by its path.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import torch
from torch import Tensor

from pruning_core.extras import MissingExtraError, need

Split = Literal["validation", "test"]

# Known names, and the class of torchvision.datasets, also its folder's name, that fetches each.
DATASETS: Mapping[str, str] = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
}

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

# Of the raw files, not of their gzipped form: compressing again must not change the verdict.
MNIST_MD5: Mapping[str, str] = {
    TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
    TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
    TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
    TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
}

_CHECKOUT_DATA = Path(__file__).resolve().parents[3] / "data"
_SYSTEM_DATA = Path("/usr/share/datasets")
"""Where Debian's package dataset-fashion-mnist puts a folder named fashion-mnist."""


class DataError(ValueError):
    """Unusable data: one line with the file or value at fault, what was expected, what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and evaluation examples as tensors on one device.

    Pixels are scaled to [0, 1] by 1/255 and not shifted by their mean, so background is exactly 0.
    A gate that multiplies a pixel by 0 then means "black", and a pixel that is black in every image
    is worth exactly nothing: removing it changes no output.

    Attributes:
        name: the data set's name, as results record it.
        split: what the evaluation examples are, "validation" or "test".
        num_classes: one more than the largest label in the training files.
        train_images: float32 in [0, 1], shape (N, 1, H, W); 28 × 28 for the known data sets.
        train_labels: int64 in [0, num_classes), shape (N,).
        eval_images: like `train_images`, shape (M, 1, H, W).
        eval_labels: like `train_labels`, shape (M,).
    """

    name: str
    split: Split
    num_classes: int
    train_images: Tensor = field(repr=False)
    train_labels: Tensor = field(repr=False)
    eval_images: Tensor = field(repr=False)
    eval_labels: Tensor = field(repr=False)

    @cached_property
    def identity(self) -> dict[str, int | str]:
        """The numbers of examples and the start of their SHA-256, which tell them from others."""
        digest = hashlib.sha256()
        for part in (self.train_images, self.train_labels, self.eval_images, self.eval_labels):
            digest.update(part.detach().cpu().contiguous().numpy().data)
        return {
            "training_examples": len(self.train_labels),
            "evaluation_examples": len(self.eval_labels),
            "examples_sha256": digest.hexdigest()[:16],
        }


def load(
    dataset: str | None = None,
    root: str | Path | None = None,
    *,
    split: Split = "test",
    device: str | torch.device = "cpu",
) -> Dataset:
    """Load a data set into memory (MNIST: 220 MB as float32).

    Without `root`, MNIST is read from the repository and verified by its published MD5 sums. Others
    are read where Debian's packages put them, or else downloaded once into the repository's
    `data/`, or `~/.cache/pruning-core` outside of one.

    Args:
        dataset: "mnist" (the default), "fashion-mnist" or "kmnist". With `root`, any name to
            record; if left out, the folder's.
        root: a folder of the four idx files, named as MNIST's are or with a dot before "idx", plain
            or gzipped; the plain one is read where both exist.
        split: "test" trains on all training files and evaluates on the test files. "validation"
            holds out the last sixth of the training files (of MNIST's 60,000 images, the last
            10,000) for evaluation; the test files are not opened.
        device: where the tensors live.

    Raises:
        DataError: the data set or split is unknown, a download fails, a file is missing,
            unreadable, truncated, corrupted, mis-shaped or too large for the memory, or files
            disagree with each other.
    """
    if split not in get_args(Split):
        raise DataError(f"unknown split {split!r}: expected {' or '.join(get_args(Split))}")
    source = _known(dataset or "mnist") if root is None else _folder(dataset, Path(root))
    try:
        return _loaded(source, split, device)
    except (MemoryError, RuntimeError) as error:  # the latter is torch's for the same
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise DataError(
            f"{source.folder}: the images do not fit into memory; expected room for 5 bytes a "
            "pixel. Use fewer or smaller images."
        ) from error


def _loaded(source: _Source, split: Split, device: str | torch.device) -> Dataset:
    images, labels = _read_pair(source, TRAIN_IMAGES, TRAIN_LABELS)
    num_classes = int(labels.max()) + 1
    if split == "test":
        num_train = len(labels)
        eval_images, eval_labels = _read_pair(source, TEST_IMAGES, TEST_LABELS)
        if images.shape[1:] != eval_images.shape[1:]:
            size, eval_size = (" × ".join(map(str, x.shape[1:])) for x in (images, eval_images))
            expected = f"{size} as in {TRAIN_IMAGES}"
            raise source.error(TEST_IMAGES, f"images of {eval_size} pixels", expected)
        if (label := int(eval_labels.max())) >= num_classes:
            expected = f"at most {num_classes - 1}, the largest in {TRAIN_LABELS}"
            raise source.error(TEST_LABELS, f"label {label}", expected)
    else:
        num_train = len(labels) - len(labels) // 6
        if num_train == len(labels):
            expected = "at least 6 for a validation split"
            raise source.error(TRAIN_IMAGES, f"{num_train} images", expected)
        eval_images, eval_labels = images[num_train:], labels[num_train:]
    return Dataset(
        name=source.name,
        split=split,
        num_classes=num_classes,
        train_images=_scaled(images[:num_train], device),
        train_labels=labels[:num_train].to(device, torch.int64),
        eval_images=_scaled(eval_images, device),
        eval_labels=eval_labels.to(device, torch.int64),
    )


def batches(
    num_examples: int,
    batch_size: int,
    device: str | torch.device = "cpu",
) -> Iterator[Tensor]:
    """Indices of one epoch's batches: a random permutation of all examples, cut into slices.

    Every example comes exactly once, so the last batch is short where `batch_size` does not divide
    `num_examples`. The permutation is drawn from torch's generator on the CPU during the call, not
    at the first batch, and the order is the same on every device.

    Args:
        num_examples: at least 1.
        batch_size: examples per batch, at least 1; beyond `num_examples`, one batch has them all.
        device: where the indices live.

    Returns:
        An iterator of int64 indices of shape (batch_size,), the last possibly shorter.

    Raises:
        DataError: `num_examples` or `batch_size` is below 1.
    """
    for name, value in (("num_examples", num_examples), ("batch_size", batch_size)):
        if value < 1:
            raise DataError(f"{name} is {value}: expected at least 1")
    return iter(torch.randperm(num_examples).to(device).split(batch_size))


@dataclass(frozen=True)
class _Source:
    """A folder of idx files, what is known of them, and what helps when one of them is bad."""

    name: str
    folder: Path
    remedy: str
    md5: Mapping[str, str] = field(default_factory=dict[str, str])

    def find(self, file: str) -> Path | None:
        spellings = (file, file.replace("-idx", ".idx"))
        candidates = (self.folder / (s + suffix) for s in spellings for suffix in ("", ".gz"))
        return next((path for path in candidates if path.is_file()), None)

    def error(self, file: str, found: str, expected: str) -> DataError:
        path = self.find(file) or self.folder
        return DataError(f"{path}: {found}; expected {expected}. {self.remedy}")


def _folder(name: str | None, folder: Path) -> _Source:
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; expected one of the files {', '.join(FILES)}.")
    return _Source(name or folder.resolve().name, folder, "Put a fresh copy there.")


def _known(name: str) -> _Source:
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise DataError(f"unknown data set {name!r}: expected {known}, or a folder (--data DIR)")
    md5: Mapping[str, str] = MNIST_MD5 if name == "mnist" else {}
    embedded = _CHECKOUT_DATA / "mnist"
    if name == "mnist" and embedded.is_dir():
        return _Source(name, embedded, "'git checkout -- data/mnist' restores it.", md5)

    parent = _CHECKOUT_DATA if embedded.is_dir() else Path.home() / ".cache" / "pruning-core"
    folder = parent / DATASETS[name] / "raw"  # torchvision's layout
    source = _Source(name, folder, f"Delete {folder} to have it downloaded again.", md5)
    if all(source.find(file) for file in FILES):
        return source
    packaged = _Source(name, _SYSTEM_DATA / name, "Install its Debian package again.", md5)
    if all(packaged.find(file) for file in FILES):
        return packaged
    _download(name, parent)
    return source


def _download(name: str, parent: Path) -> None:
    advice = f"--data DIR reads a folder of the four files {', '.join(FILES)}, plain or gzipped"
    if name == "fashion-mnist":
        advice += "; or install Debian's package dataset-fashion-mnist, which is found"
    try:
        need("data")
    except MissingExtraError as error:
        raise DataError(
            f"{name} is not on this machine, and {error}. Otherwise, {advice}"
        ) from error
    from torchvision import datasets  # a second of import, not needed once the files are there

    fetch: type[datasets.MNIST] = getattr(datasets, DATASETS[name])
    try:
        fetch(parent, download=True)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} could not be downloaded into {parent}; expected network access and a writable "
            f"folder. Otherwise, {advice}. ({reason})"
        ) from error


def _read_pair(source: _Source, images_file: str, labels_file: str) -> tuple[Tensor, Tensor]:
    """Images, uint8 (N, H, W), and their labels, uint8 (N,)."""
    images = _read_idx(source, images_file, ndim=3)
    labels = _read_idx(source, labels_file, ndim=1)
    if len(images) != len(labels):
        expected = f"{len(images)}, one for each image in {images_file}"
        raise source.error(labels_file, f"{len(labels)} labels", expected)
    return images, labels


def _read_idx(source: _Source, file: str, ndim: int) -> Tensor:
    """Bytes 0, 0, 8 (unsigned bytes), ndim; then ndim big-endian sizes of 4 bytes; the data.

    The header is read first, and no more than what it promises is taken into memory.
    """
    path = source.find(file)
    if path is None:
        expected = f"the files {', '.join(FILES)}, plain or gzipped"
        raise source.error(file, f"no {file} or {file}.gz", expected)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content:
            return _parsed(source, file, ndim, content)
    except EOFError as error:
        raise source.error(file, "truncated", "a complete gzip file") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise source.error(file, f"corrupted ({error})", "an intact gzip file") from error
    except OSError as error:
        raise source.error(file, f"unreadable ({error.strerror})", "a readable file") from error


def _parsed(source: _Source, file: str, ndim: int, content: BinaryIO | gzip.GzipFile) -> Tensor:
    start, magic = 4 + 4 * ndim, (8 << 8) + ndim
    kind = f"an idx file of {'images, rows, columns' if ndim == 3 else 'labels'} in unsigned bytes"
    header = content.read(start)
    if len(header) < start:
        raise source.error(file, f"ends after {len(header)} bytes", kind)
    found, *shape = struct.unpack(f">{1 + ndim}I", header)
    size = math.prod(shape)
    if found != magic:
        raise source.error(file, f"magic number {found}", f"{magic}, {kind}")
    expected = f"{size} for the shape {tuple(shape)} in its header"
    if not isinstance(content, gzip.GzipFile):
        there = os.fstat(content.fileno()).st_size - start
        if there != size:
            raise source.error(file, f"{there} bytes of data", expected)
    if size == 0:
        raise source.error(file, f"empty, of shape {tuple(shape)}", "at least one example")
    _check_memory(source, file, size)
    data = bytearray()
    while len(data) <= size and (chunk := content.read(min(2**20, size + 1 - len(data)))):
        data += chunk
    if len(data) != size:
        there = len(data) if len(data) < size else f"more than {size}"
        raise source.error(file, f"{there} bytes of data", expected)
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(data)
    md5 = digest.hexdigest()
    if md5 != source.md5.get(file, md5):
        raise source.error(file, f"MD5 of the raw file is {md5}", source.md5[file])
    return torch.frombuffer(data, dtype=torch.uint8).view(*shape)


def _check_memory(source: _Source, file: str, size: int) -> None:
    """A byte becomes a float of four."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 5 * size > memory:
        found = f"{size / 1e9:.1f} GB of data, which take {5 * size / 1e9:.1f} GB as tensors"
        raise source.error(file, found, f"no more than the memory of {memory / 1e9:.1f} GB")


def _scaled(images: Tensor, device: str | torch.device) -> Tensor:
    """uint8 (N, H, W) to float32 (N, 1, H, W); bytes travel to the device, not floats."""
    return images.to(device).unsqueeze(1).to(torch.float32).div_(255)
