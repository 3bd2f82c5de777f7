"""Tests of pruning_core.studies.small_networks: pixels, training, and that a stop loses nothing."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from pruning_core.experiments.data import Dataset
from pruning_core.experiments.settings import recommended
from pruning_core.metrics import error_percent
from pruning_core.studies import small_networks as study
from pruning_core.studies.declaration import StudyError

ROWS = pd.DataFrame(
    {
        "point": [point for point in study.POINTS for _ in range(study.SEEDS)],
        "seed": [seed for _ in study.POINTS for seed in range(study.SEEDS)],
    }
)


@pytest.fixture
def few(small_mnist: Dataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dataset]:
    """1,000 training and 500 test images in place of all, and few epochs."""
    data = replace(
        small_mnist,
        train_images=small_mnist.train_images[:1000],
        train_labels=small_mnist.train_labels[:1000],
        eval_images=small_mnist.eval_images[:500],
        eval_labels=small_mnist.eval_labels[:500],
    )
    monkeypatch.setattr(study, "_data", lambda split: data)
    quick = partial(recommended, epochs=12, batch_size=16, theta_step=1 / 60, smoothing=0.9)
    monkeypatch.setattr(study, "recommended", quick)
    monkeypatch.setattr(study, "_WIDE_EPOCHS", 4)
    threads = torch.get_num_threads()
    yield data
    torch.set_num_threads(threads)


def found(pixels: list[int], hidden: str = "20-15") -> dict[str, Any]:
    return {
        "selected": " ".join(map(str, pixels)),
        "architecture": f"{len(pixels)}-{hidden}",
    }


@pytest.mark.parametrize("count", [1, 2, 3, 50, 107, 128, 165, 257, 450, 484])
def test_a_lattice_has_so_many_pixels_evenly_over_the_middle(count: int) -> None:
    pixels = study.lattice(count)
    assert len(pixels) == count
    assert bool((pixels.diff() > 0).all())
    places = torch.stack([pixels // 28, pixels % 28], 1)
    assert int(places.min()) >= 3
    assert int(places.max()) <= 24
    if count >= 50:
        assert places.float().mean(0).tolist() == pytest.approx([13.5, 13.5], abs=0.75)
        # Not much closer than a square lattice of as many would be.
        assert float(torch.pdist(places.float()).min()) >= int(22 / (count**0.5 + 1))


@pytest.mark.parametrize("count", [0, 485])
def test_a_lattice_of_no_pixels_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} pixels were asked for; 1 to 484 was expected"):
        study.lattice(count)


def test_pixels_are_the_found_ones_or_as_many_others() -> None:
    own = [3, 100, 101, 400, 783]
    row = found(own)
    for kind in (study.SAME, study.SCRATCH):
        assert study.chosen_pixels(kind, row, 0).tolist() == own
    assert torch.equal(study.chosen_pixels(study.LATTICE, row, 0), study.lattice(5))
    drawn = [study.chosen_pixels(study.RANDOM, row, seed) for seed in range(200)]
    assert torch.equal(drawn[0], study.chosen_pixels(study.RANDOM, row, 0))
    for pixels in drawn:
        assert len(set(pixels.tolist())) == 5
        assert bool((pixels.diff() > 0).all())
    together = torch.cat(drawn)
    assert (int(together.min()), int(together.max())) == pytest.approx((0, 783), abs=10)
    assert float(together.float().mean()) == pytest.approx(391.5, abs=4.5 * 226 / 1000**0.5)


def test_training_learns_repeats_itself_and_leaves_the_generator_alone(few: Dataset) -> None:
    images = few.train_images.flatten(1)[:, study.lattice(150)]
    state = torch.get_rng_state()
    nets = [
        study.fitted([150, 40, 20, 10], images, few.train_labels, seed, dropout=True)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (net.state_dict()["1.weight"] for net in nets)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    dropped = [m.p for m in nets[0] if isinstance(m, nn.Dropout)]
    assert dropped == [0.1, 0.3, 0.3]
    assert error_percent(nets[0], images, few.train_labels) < 50
    plain = study.fitted([150, 40, 20, 10], images[:200], few.train_labels[:200], 0, dropout=False)
    assert [type(m) for m in plain] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.slow
def test_a_found_network_and_those_beside_it_are_measured(few: Dataset) -> None:
    pruned = study.measured(study.Network(study.FOUND, 8), 0)
    pixels = [int(pixel) for pixel in pruned["selected"].split()]
    sizes = [int(size) for size in pruned["architecture"].split("-")]
    assert pruned["pixels"] == sizes[0] == len(pixels) < 784
    for kind, hidden in ((study.SAME, [300, 100]), (study.SCRATCH, sizes[1:])):
        row = study.measured(study.Network(kind, 8), 0, pruned)
        assert row["point"] == f"{kind}, 8 nats"
        assert row["architecture"] == "-".join(map(str, [len(pixels), *hidden]))
        count = len(pixels) * hidden[0] + hidden[0] * hidden[1] + hidden[1] * 10
        assert row["weights_percent"] == pytest.approx(100 * count / 266_200, abs=1e-3)
        assert row["train_error_percent"] < row["test_error_percent"] < 30
    row = study.measured(study.Network(study.ALL), 0)
    assert (row["point"], row["pixels"]) == ("wide on all pixels", 784)
    assert row["weights_percent"] == 100


def test_what_a_stop_has_left_is_kept_and_the_rest_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []
    most = 33

    def measured(network: study.Network, seed: int, beside: dict[str, Any] | None) -> object:
        if len(done) == most:
            raise KeyboardInterrupt
        done.append((network.point, seed))
        if network.kind == study.FOUND:
            selected = f"{network.price} {100 + seed}"
        elif network.price is None:
            assert beside is None
            selected = ""
        else:
            assert beside is not None
            assert beside["selected"] == f"{network.price} {100 + seed}"
            selected = ""
        return {
            "point": network.point,
            "seed": seed,
            "architecture": "2-3-4",
            "selected": selected,
            **dict.fromkeys(study._NUMBERS[1:], 1.5),
        }

    monkeypatch.setattr(study, "measured", measured)
    path = tmp_path / "results" / "small-networks.csv"
    with pytest.raises(KeyboardInterrupt):
        study.completed(path, jobs=1)
    assert len(study.load(path)) == most
    first = done.copy()
    most = 1000
    done.clear()
    rows = study.completed(path, jobs=1)
    assert len(first) + len(done) == len(rows) == len(ROWS)
    assert not set(first) & set(done)
    assert rows["point"].to_list() == ROWS["point"].to_list()
    assert rows["seed"].to_list() == ROWS["seed"].to_list()


def test_differences_are_paired_by_seed() -> None:
    generator = np.random.default_rng(0)
    rows = ROWS.assign(test_error_percent=generator.normal(2.0, 0.2, len(ROWS)))
    rows = rows.loc[~((rows["point"] == "from scratch, 28 nats") & (rows["seed"] < 6))]
    rows = rows.loc[rows["point"] != "wide on a lattice, 28 nats"]
    shuffled = rows.sample(frac=1.0, random_state=1)
    table = study.differences(shuffled).set_index(["price", "kind"])
    assert len(table) == 9
    by_point = {point: own.set_index("seed") for point, own in rows.groupby("point")}
    for kind, point in (
        (study.SCRATCH, "from scratch, 28 nats"),
        (study.ALL, "wide on all pixels"),
    ):
        own = by_point[point]["test_error_percent"]
        base = by_point["wide on the same pixels, 28 nats"]["test_error_percent"].loc[own.index]
        expected = stats.ttest_rel(own, base).confidence_interval(0.95)
        row = table.loc[(28, kind)]
        assert row["difference"] == pytest.approx((own - base).mean())
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


COLUMNS = (
    "point,seed,architecture,pixels,weights_percent,test_error_percent,train_error_percent,selected"
)
ROW = "wide on all pixels,0,784-300-100,784,100,1.4,0.1,"


def test_the_table_is_shown_and_a_damaged_one_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / study.FILE
    assert study.load(path).empty
    path.parent.mkdir()
    path.write_text(f"{COLUMNS}\n{ROW}\n")
    (row,) = study.load(path).to_dict("records")
    assert (row["selected"], row["test_error_percent"]) == ("", 1.4)
    monkeypatch.setattr(study, "completed", lambda path, jobs: study.load(path))
    assert study.main(["--root", str(tmp_path)]) == 0
    assert "wide on all pixels" in capsys.readouterr().out
    monkeypatch.undo()
    for change, words in (
        (("test_error_percent", "error"), "the columns test_error_percent are missing"),
        (("1.4", "some"), "test_error_percent: a number was expected in each row"),
    ):
        path.write_text(f"{COLUMNS}\n{ROW}\n".replace(*change))
        with pytest.raises(StudyError, match=words):
            study.load(path)
        assert study.main(["--root", str(tmp_path)]) == 2
        assert str(path) in capsys.readouterr().err
