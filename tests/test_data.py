"""Tests of data: full MNIST, folders of idx files, every error, the batches."""

import gzip
import hashlib
import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import cast, get_args

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.experiments import data
from pruning_core.experiments.data import (
    DATASETS,
    FILES,
    MNIST_MD5,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    DataError,
    Dataset,
    Split,
    batches,
    load,
)

MNIST = Path(__file__).resolve().parents[1] / "data" / "mnist"


def idx(shape: tuple[int, ...], values: bytes, magic: int | None = None) -> bytes:
    """An idx file, written without help from the module under test."""
    magic = 0x800 + len(shape) if magic is None else magic
    return struct.pack(f">{1 + len(shape)}I", magic, *shape) + values


def images(count: int, rows: int = 2, columns: int = 3, first: int = 0) -> bytes:
    size = count * rows * columns
    return idx((count, rows, columns), bytes((first + i) % 256 for i in range(size)))


def labels(*values: int) -> bytes:
    return idx((len(values),), bytes(values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve training and three test images of 2 × 3 pixels, in three classes, as plain files."""
    root = tmp_path / "letters"
    root.mkdir()
    (root / TRAIN_IMAGES).write_bytes(images(12))
    (root / TRAIN_LABELS).write_bytes(labels(*[0, 1, 2] * 4))
    (root / TEST_IMAGES).write_bytes(images(3, first=100))
    (root / TEST_LABELS).write_bytes(labels(2, 1, 0))
    return root


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return load("mnist")


def tensors(loaded: Dataset) -> tuple[torch.Tensor, ...]:
    return (loaded.train_images, loaded.train_labels, loaded.eval_images, loaded.eval_labels)


def assert_error(call: Callable[[], object], *parts: str) -> None:
    """The call raises a DataError of one line that contains every part."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# Full MNIST


def test_full_mnist_is_embedded(mnist: Dataset) -> None:
    assert (mnist.name, mnist.split, mnist.num_classes) == ("mnist", "test", 10)
    assert mnist.train_images.shape == (60_000, 1, 28, 28)
    assert mnist.train_labels.shape == (60_000,)
    assert mnist.eval_images.shape == (10_000, 1, 28, 28)
    assert mnist.eval_labels.shape == (10_000,)
    assert mnist.train_images.dtype == mnist.eval_images.dtype == torch.float32
    assert mnist.train_labels.dtype == mnist.eval_labels.dtype == torch.int64


def test_mnist_is_the_default_data_set() -> None:
    assert load(split="validation").name == "mnist"


@pytest.mark.parametrize("file", FILES)
def test_raw_mnist_files_have_their_published_md5(file: str) -> None:
    raw = gzip.decompress((MNIST / f"{file}.gz").read_bytes())
    assert hashlib.md5(raw).hexdigest() == MNIST_MD5[file]


def test_mnist_has_its_known_number_of_each_digit(mnist: Dataset) -> None:
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train_labels.bincount().tolist() == train
    assert mnist.eval_labels.bincount().tolist() == test
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.eval_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_pixels_reach_from_exactly_zero_to_exactly_one(mnist: Dataset) -> None:
    for pixels in (mnist.train_images, mnist.eval_images):
        assert (pixels.min().item(), pixels.max().item()) == (0.0, 1.0)
    std, mean = torch.std_mean(mnist.train_images)
    assert mean.item() == pytest.approx(0.1307, abs=5e-5)
    assert std.item() == pytest.approx(0.3081, abs=5e-5)


def test_pixels_that_are_always_black_are_exactly_zero(mnist: Dataset) -> None:
    always_black = (mnist.train_images == 0).all(dim=0)
    assert always_black.sum().item() == 67  # 717 of 784 pixels are ever lit in the training set


def test_validation_split_is_the_last_10000_training_images(mnist: Dataset) -> None:
    choosing = load(split="validation")
    assert choosing.split == "validation"
    assert choosing.num_classes == 10
    assert torch.equal(choosing.train_images, mnist.train_images[:50_000])
    assert torch.equal(choosing.train_labels, mnist.train_labels[:50_000])
    assert torch.equal(choosing.eval_images, mnist.train_images[50_000:])
    assert torch.equal(choosing.eval_labels, mnist.train_labels[50_000:])


def test_mnist_agrees_with_torchvisions_reader(mnist: Dataset, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / file).write_bytes(gzip.decompress((MNIST / f"{file}.gz").read_bytes()))
    for train, ours in ((True, mnist.train_images), (False, mnist.eval_images)):
        theirs = torchvision.datasets.MNIST(tmp_path, train=train)
        assert torch.equal(ours.squeeze(1), theirs.data / 255)
    assert torch.equal(mnist.eval_labels, theirs.targets)


def test_altered_mnist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "mnist"
    copy.mkdir()
    for file in FILES:
        (copy / f"{file}.gz").symlink_to(MNIST / f"{file}.gz")
    altered = copy / f"{TRAIN_LABELS}.gz"
    raw = bytearray(gzip.decompress(altered.read_bytes()))
    raw[1000] ^= 1  # another digit, still a valid idx file
    altered.unlink()
    altered.write_bytes(gzip.compress(raw))
    monkeypatch.setattr(data, "_CHECKOUT_DATA", tmp_path)
    assert_error(load, str(altered), "MD5", MNIST_MD5[TRAIN_LABELS], "git checkout")


# Folders of idx files


def test_folder_loads_with_its_own_shapes_and_classes(folder: Path) -> None:
    loaded = load(root=folder)
    assert (loaded.name, loaded.num_classes) == ("letters", 3)
    assert loaded.train_images.shape == (12, 1, 2, 3)
    assert torch.equal(loaded.train_images.flatten(), torch.arange(72) / 255)
    assert torch.equal(loaded.eval_images.flatten(), torch.arange(100, 118) / 255)
    assert loaded.train_labels.tolist() == [0, 1, 2] * 4
    assert loaded.eval_labels.tolist() == [2, 1, 0]


def test_name_of_a_folder_can_be_given(folder: Path) -> None:
    assert load("fashion-mnist", folder).name == "fashion-mnist"
    assert load("my letters", str(folder)).name == "my letters"


def test_name_of_a_folder_ignores_how_its_path_is_written(folder: Path) -> None:
    assert load(root=folder / ".." / "letters" / ".").name == "letters"


@pytest.mark.parametrize("spelling", ["{}", "{}.gz", "dot {}", "dot {}.gz"])
def test_plain_gzipped_and_dotted_files_load_alike(folder: Path, spelling: str) -> None:
    expected = tensors(load(root=folder))
    for file in FILES:
        raw = (folder / file).read_bytes()
        (folder / file).unlink()
        name = spelling.replace("dot ", "").format(file)
        name = name.replace("-idx", ".idx") if spelling.startswith("dot") else name
        (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    for loaded, original in zip(tensors(load(root=folder)), expected, strict=True):
        assert torch.equal(loaded, original)


def test_plain_file_is_preferred_to_a_gzipped_one(folder: Path) -> None:
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(b"not read")
    assert load(root=folder).train_labels.tolist() == [0, 1, 2] * 4


def test_validation_split_of_a_folder_is_the_last_sixth(folder: Path) -> None:
    loaded = load(root=folder, split="validation")
    assert (len(loaded.train_images), len(loaded.train_labels)) == (10, 10)
    assert torch.equal(loaded.eval_images.flatten(), torch.arange(60, 72) / 255)
    assert loaded.eval_labels.tolist() == [1, 2]


def test_validation_split_does_not_open_the_test_files(folder: Path) -> None:
    (folder / TEST_IMAGES).unlink()
    (folder / TEST_LABELS).write_bytes(b"never looked at")
    assert load(root=folder, split="validation").num_classes == 3


def test_tensors_are_on_the_device_asked_for(folder: Path) -> None:
    assert {x.device.type for x in tensors(load(root=folder, device="meta"))} == {"meta"}


def test_data_set_cannot_be_changed_by_accident(folder: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        load(root=folder).name = "another"  # type: ignore[misc]


def test_data_set_prints_without_its_pixels(folder: Path) -> None:
    assert repr(load(root=folder)) == "Dataset(name='letters', split='test', num_classes=3)"


# Downloads, by torchvision, from a mirror on this machine


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The gzipped files of `folder`, served to torchvision; the checkout and home are empty."""
    for file in FILES:
        (folder / f"{file}.gz").write_bytes(gzip.compress((folder / file).read_bytes()))
        (folder / file).unlink()
    md5s = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in folder.iterdir()]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    for name in DATASETS.values():
        fetcher = getattr(torchvision.datasets, name)
        monkeypatch.setattr(fetcher, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(fetcher, "resources", md5s)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(data, "_CHECKOUT_DATA", tmp_path / "checkout")
    monkeypatch.setattr(data, "_SYSTEM_DATA", tmp_path / "system")
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_other_data_sets_are_downloaded_once(name: str, mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "checkout" / "mnist").mkdir(parents=True)
    first = load(name)
    assert first.name == name
    assert first.eval_labels.tolist() == [2, 1, 0]
    assert (tmp_path / "checkout" / DATASETS[name] / "raw" / TEST_LABELS).is_file()

    for file in mirror.iterdir():  # a second download would fail
        file.unlink()
    assert torch.equal(load(name).train_images, first.train_images)


def test_what_the_system_has_is_not_downloaded(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "system").mkdir()
    mirror.rename(tmp_path / "system" / "fashion-mnist")
    assert load("fashion-mnist").eval_labels.tolist() == [2, 1, 0]
    assert not (tmp_path / "home").exists()


@pytest.mark.usefixtures("mirror")
def test_outside_a_checkout_downloads_go_to_the_cache(tmp_path: Path) -> None:
    load("kmnist")
    cache = tmp_path / "home" / ".cache" / "pruning-core"
    assert (cache / "KMNIST" / "raw" / TRAIN_IMAGES).is_file()


@pytest.mark.usefixtures("mirror")
def test_downloaded_mnist_is_verified_too() -> None:
    assert_error(lambda: load("mnist"), "MD5", MNIST_MD5[TRAIN_IMAGES], "Delete", "downloaded")


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_failed_download_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:1/"
    monkeypatch.setattr(getattr(torchvision.datasets, DATASETS[name]), "mirrors", [nowhere])
    assert_error(lambda: load(name), name, "network", "--data DIR", nowhere)
    if name == "fashion-mnist":
        assert_error(lambda: load(name), "install Debian's package dataset-fashion-mnist")


def test_altered_download_is_refused(mirror: Path) -> None:
    (mirror / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(images(12, first=1)))
    assert_error(lambda: load("kmnist"), "kmnist", "could not be downloaded", "corrupted")


@pytest.mark.usefixtures("mirror")
def test_download_into_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder is needed")
    parts = (str(tmp_path / "home"), "could not be downloaded", "--data DIR")
    assert_error(lambda: load("kmnist"), *parts)


@pytest.mark.usefixtures("mirror")
def test_interrupted_download_says_what_to_delete(tmp_path: Path) -> None:
    raw = tmp_path / "home" / ".cache" / "pruning-core" / "KMNIST" / "raw"
    load("kmnist")
    (raw / TRAIN_IMAGES).write_bytes((raw / TRAIN_IMAGES).read_bytes()[:-1])
    assert_error(lambda: load("kmnist"), str(raw / TRAIN_IMAGES), f"Delete {raw}")


# Errors


def test_unknown_data_set_lists_the_known_ones() -> None:
    assert_error(lambda: load("cifar"), "'cifar'", "mnist, fashion-mnist, kmnist", "--data DIR")


def test_unknown_split_lists_the_known_ones() -> None:
    assert get_args(Split) == ("validation", "test")
    unknown = cast(Split, "train")
    assert_error(lambda: load(split=unknown), "'train'", "validation or test")


def test_root_that_is_no_folder_is_refused(folder: Path) -> None:
    assert_error(lambda: load(root=folder / "absent"), str(folder / "absent"), "not a folder")
    assert_error(lambda: load(root=folder / TRAIN_LABELS), "not a folder", *FILES)


@pytest.mark.parametrize("file", FILES)
def test_missing_file_lists_the_four_names(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert_error(lambda: load(root=folder), str(folder), f"no {file} or {file}.gz", *FILES)


@pytest.mark.parametrize("file", FILES)
def test_gzip_file_truncated_anywhere_is_refused(folder: Path, file: str) -> None:
    whole = gzip.compress((folder / file).read_bytes())
    (folder / file).unlink()
    path = folder / f"{file}.gz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert_error(lambda: load(root=folder), f"{path}: ", "expected", "fresh copy")
    path.write_bytes(whole[:-1])
    assert_error(lambda: load(root=folder), "truncated", "complete gzip file")


def test_gzip_file_with_any_corrupted_content_is_refused(folder: Path) -> None:
    whole = gzip.compress((folder / TRAIN_IMAGES).read_bytes())
    (folder / TRAIN_IMAGES).unlink()
    path = folder / f"{TRAIN_IMAGES}.gz"
    for position in range(10, len(whole)):  # the ten bytes of header hold no data but a time
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        assert_error(lambda: load(root=folder), f"{path}: ", "expected", "fresh copy")


def test_file_that_is_no_gzip_file_is_called_corrupted(folder: Path) -> None:
    (folder / TRAIN_LABELS).rename(folder / f"{TRAIN_LABELS}.gz")
    assert_error(lambda: load(root=folder), f"{TRAIN_LABELS}.gz", "corrupted", "intact gzip file")


@pytest.mark.parametrize("file", FILES)
def test_plain_file_truncated_anywhere_is_refused(folder: Path, file: str) -> None:
    whole = (folder / file).read_bytes()
    for length in range(len(whole)):
        (folder / file).write_bytes(whole[:length])
        assert_error(lambda: load(root=folder), f"{folder / file}: ", "expected", "fresh copy")


def test_header_that_disagrees_with_the_length_is_refused(folder: Path) -> None:
    (folder / TRAIN_IMAGES).write_bytes(idx((12, 2, 3), bytes(73)))
    parts = (f"{folder / TRAIN_IMAGES}: ", "73 bytes", "expected 72", "(12, 2, 3)")
    assert_error(lambda: load(root=folder), *parts)


@pytest.mark.parametrize(
    ("file", "content", "found", "expected"),
    [
        pytest.param(TRAIN_IMAGES, labels(*range(12)), "2049", "2051", id="labels as images"),
        pytest.param(TRAIN_LABELS, images(12), "2051", "2049", id="images as labels"),
        pytest.param(TRAIN_IMAGES, idx((12, 6), bytes(72)), "2050", "2051", id="flat images"),
        pytest.param(
            TEST_IMAGES, idx((3, 2, 3, 3), bytes(54)), "2052", "2051", id="images in colour"
        ),
        pytest.param(
            TEST_LABELS, idx((3,), bytes(12), magic=0xD01), "3329", "2049", id="floating point"
        ),
    ],
)
def test_other_kinds_of_idx_file_are_refused(
    folder: Path, file: str, content: bytes, found: str, expected: str
) -> None:
    (folder / file).write_bytes(content)
    parts = (f"{folder / file}: magic number {found}", f"expected {expected}", "unsigned bytes")
    assert_error(lambda: load(root=folder), *parts)


@pytest.mark.parametrize("shape", [(0, 2, 3), (12, 0, 3)])
def test_file_without_examples_is_refused(folder: Path, shape: tuple[int, ...]) -> None:
    (folder / TRAIN_IMAGES).write_bytes(idx(shape, b""))
    assert_error(lambda: load(root=folder), TRAIN_IMAGES, "empty", str(shape), "at least one")


def test_different_numbers_of_images_and_labels_are_refused(folder: Path) -> None:
    (folder / TRAIN_LABELS).write_bytes(labels(0, 1, 2))
    parts = (f"{folder / TRAIN_LABELS}: 3 labels", "expected 12", TRAIN_IMAGES)
    assert_error(lambda: load(root=folder), *parts)


def test_test_images_of_another_size_are_refused(folder: Path) -> None:
    (folder / TEST_IMAGES).write_bytes(images(3, rows=4, columns=5))
    parts = (f"{folder / TEST_IMAGES}: ", "4 × 5 pixels", "expected 2 × 3", TRAIN_IMAGES)
    assert_error(lambda: load(root=folder), *parts)


def test_test_label_that_training_lacks_is_refused(folder: Path) -> None:
    (folder / TEST_LABELS).write_bytes(labels(0, 3, 1))
    parts = (f"{folder / TEST_LABELS}: label 3", "expected at most 2", TRAIN_LABELS)
    assert_error(lambda: load(root=folder), *parts)


def test_too_few_images_for_a_validation_split_are_refused(folder: Path) -> None:
    (folder / TRAIN_IMAGES).write_bytes(images(5))
    (folder / TRAIN_LABELS).write_bytes(labels(0, 1, 2, 0, 1))
    parts = (f"{folder / TRAIN_IMAGES}: 5 images", "at least 6")
    assert_error(lambda: load(root=folder, split="validation"), *parts)


def test_unreadable_file_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> bytes:  # permissions would not stop root, who may test
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert_error(lambda: load(root=folder), str(folder / TRAIN_IMAGES), "Permission denied")


def test_a_pipe_is_no_file_to_wait_for(folder: Path) -> None:
    (folder / TRAIN_IMAGES).unlink()
    os.mkfifo(folder / TRAIN_IMAGES)
    assert_error(lambda: load(root=folder), str(folder), f"no {TRAIN_IMAGES}")


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_promises(folder: Path) -> None:
    (folder / TRAIN_IMAGES).unlink()
    bomb = gzip.compress(idx((12, 2, 3), bytes(200_000_000)))
    assert len(bomb) < 1_000_000
    (folder / f"{TRAIN_IMAGES}.gz").write_bytes(bomb)
    tracemalloc.start()
    assert_error(lambda: load(root=folder), "more than 72 bytes", "expected 72", "(12, 2, 3)")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2_000_000


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_promise_beyond_the_memory_costs_none(folder: Path, suffix: str) -> None:
    (folder / TRAIN_IMAGES).unlink()
    shape = (2**20, 2**10, 2**10)
    path = folder / f"{TRAIN_IMAGES}{suffix}"
    header = idx(shape, b"")
    if suffix:
        path.write_bytes(gzip.compress(header))
        parts = ("1099.5 GB of data", "5497.6 GB as tensors", "no more than the memory of")
    else:
        path.write_bytes(header)
        os.truncate(path, 100 * 10**9)  # without a block on the disk
        parts = ("99999999984 bytes of data", "expected 1099511627776", str(shape))
    tracemalloc.start()
    assert_error(lambda: load(root=folder), str(path), *parts)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2_000_000


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_too_little_memory_is_told(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(data, "_scaled", refuse)
    assert_error(
        lambda: load(root=folder), str(folder), "do not fit into memory", "5 bytes a pixel"
    )


def test_without_torchvision_a_download_says_what_to_install_or_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(data, "_CHECKOUT_DATA", tmp_path)
    monkeypatch.setattr(data, "_SYSTEM_DATA", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("pruning_core.extras.find_spec", lambda name: None)
    parts = ("torchvision is not installed", "'pruning-core[data]'", "--data DIR", *FILES)
    assert_error(lambda: load("mnist"), *parts)


# What tells one data set from another


def test_the_identity_of_a_data_set_depends_on_every_example(folder: Path) -> None:
    loaded = load(root=folder)
    identity = loaded.identity
    assert (identity["training_examples"], identity["evaluation_examples"]) == (12, 3)
    assert load(root=folder).identity == identity
    others = [
        replace(loaded, train_images=loaded.train_images.flip(0)),
        replace(loaded, eval_images=1 - loaded.eval_images),
        replace(loaded, train_labels=loaded.train_labels.roll(1)),
        replace(loaded, eval_labels=loaded.eval_labels.roll(1)),
    ]
    sums = {other.identity["examples_sha256"] for other in [loaded, *others]}
    assert len(sums) == 5
    raw = b"".join(x.numpy().tobytes() for x in tensors(loaded))
    assert identity["examples_sha256"] == hashlib.sha256(raw).hexdigest()[:16]


# Batches


@given(st.integers(1, 200), st.integers(1, 250), st.integers(0, 2**63 - 1))
def test_batches_are_one_seeded_permutation(num_examples: int, batch_size: int, seed: int) -> None:
    torch.manual_seed(seed)
    epoch = list(batches(num_examples, batch_size))
    assert torch.equal(torch.cat(epoch).sort().values, torch.arange(num_examples))
    assert all(len(batch) == batch_size for batch in epoch[:-1])
    assert len(epoch[-1]) == (num_examples - 1) % batch_size + 1

    torch.manual_seed(seed)
    again = list(batches(num_examples, batch_size))
    assert all(torch.equal(a, b) for a, b in zip(epoch, again, strict=True))


def test_one_epoch_differs_from_the_next() -> None:
    torch.manual_seed(0)
    first, second = (torch.cat(list(batches(1000, 10))) for _ in range(2))
    assert not torch.equal(first, second)


def test_order_is_drawn_when_batches_is_called() -> None:
    before = torch.get_rng_state()
    epoch = batches(100, 10)
    state = torch.get_rng_state()
    assert not torch.equal(state, before)
    list(epoch)
    assert torch.equal(torch.get_rng_state(), state)


def test_order_does_not_depend_on_the_batch_size() -> None:
    orders = []
    for size in (7, 64):
        torch.manual_seed(0)
        orders.append(torch.cat(list(batches(100, size))))
    assert torch.equal(*orders)


def test_batches_index_images_on_their_device() -> None:
    (batch,) = batches(5, 5, device="meta")
    assert (batch.device.type, batch.dtype) == ("meta", torch.int64)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_order_on_a_gpu_is_that_on_the_cpu() -> None:
    orders = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        orders.append(torch.cat(list(batches(1000, 64, device))).cpu())
    assert torch.equal(*orders)


@pytest.mark.parametrize(("num_examples", "batch_size"), [(0, 1), (-1, 1), (10, 0), (10, -5)])
def test_sizes_below_one_are_refused_at_the_call(num_examples: int, batch_size: int) -> None:
    name = "num_examples" if num_examples < 1 else "batch_size"
    value = str(min(num_examples, batch_size))
    assert_error(lambda: batches(num_examples, batch_size), name, value, "at least 1")
