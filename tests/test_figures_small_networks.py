"""Tests of pruning_core.figures.small_networks: every seed, mean and interval stands in its row."""

import numpy as np
import pandas as pd
import pytest

from pruning_core.figures.small_networks import errors
from pruning_core.studies import small_networks as study
from pruning_core.studies.intervals import mean_interval


def test_each_network_has_its_row_in_the_panel_of_its_price() -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {"point": point, "seed": seed, "test_error_percent": 1.5 + place / 4 + generator.random()}
        for place, point in enumerate(study.POINTS)
        for seed in range(study.SEEDS)
    )
    table = table.loc[table["point"] != "wide on a lattice, 28 nats"]
    panels = errors(table).axes
    assert [axis.get_title(loc="left") for axis in panels] == ["56 nats a unit", "28 nats a unit"]
    kinds = [study.FOUND, study.SCRATCH, study.SAME, study.LATTICE, study.RANDOM, study.ALL]
    for axis, price in zip(panels, study.PRICES, strict=True):
        labels = [label.get_text() for label in axis.get_yticklabels()]
        assert labels == [
            *("found", "found, from scratch", "wide, same pixels", "wide, lattice"),
            *("wide, random pixels", "wide, all pixels"),
        ]
        for row, kind in enumerate(kinds):
            point = "wide on all pixels" if kind == study.ALL else f"{kind}, {price} nats"
            own = table.loc[table["point"] == point, "test_error_percent"].to_numpy()
            lines = [np.asarray(line.get_xydata()) for line in axis.lines]
            drawn = [line[:, 0] for line in lines if (line[:, 1] == row).all()]
            assert len(drawn) == (3 if len(own) else 0)
            if len(own):
                seeds, interval, mean = drawn
                assert seeds.tolist() == own.tolist()
                middle, *ends = mean_interval(own)
                assert interval.tolist() == pytest.approx(ends)
                assert mean.tolist() == [pytest.approx(middle)]
