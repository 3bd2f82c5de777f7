"""Tests of pruning_core.widgets: controls, without a browser; one with a browser stands beside."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from ipywidgets import FloatSlider, VBox
from matplotlib.figure import Figure

from pruning_core.experiments.data import Dataset, load
from pruning_core.experiments.loop import TrainingError
from pruning_core.experiments.run import Run
from pruning_core.export import load_model
from pruning_core.metrics import architecture
from pruning_core.studies.archive import Archive
from pruning_core.widgets import closed_forms
from pruning_core.widgets.columns import Columns
from pruning_core.widgets.live import TrainLive

ROOT = Path(__file__).parents[1]
ARCHIVE = Archive(ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        closed_forms.hyper_prior,
        closed_forms.life_of_a_unit,
        closed_forms.penalties,
        closed_forms.joint_descent,
    ],
)
def test_every_control_changes_the_figure_and_none_breaks_it(build: Callable[[], VBox]) -> None:
    *controls, complaint, picture = build().children
    for control in controls:
        before, value = picture.value, control.value
        control.value = control.options[-1] if hasattr(control, "options") else value * 1.2
        assert picture.value != before, control.description
        assert complaint.value == ""
        control.value = value
        assert picture.value == before
    assert re.match(r'<img alt="\w[^"]{20,}" src="data:image/png;base64,', picture.value)


def test_an_impossible_value_explains_itself_and_keeps_the_figure() -> None:
    def draw(number: float) -> Figure:
        """A figure of nothing."""
        if number > 1:
            raise ValueError("number is <2>; expected at most 1")
        return Figure()

    slider = FloatSlider(0.5, max=3)
    _, complaint, picture = closed_forms.explore(draw, number=slider).children
    before = picture.value
    slider.value = 2
    assert complaint.value == '<p role="alert">number is &lt;2&gt;; expected at most 1</p>'
    assert picture.value == before
    slider.value = 1
    assert complaint.value == ""


@pytest.fixture
def live(mnist_folder: Path) -> TrainLive:
    data = load(root=mnist_folder)
    few = {"train_images": data.train_images[:1500], "train_labels": data.train_labels[:1500]}
    return TrainLive(ARCHIVE, replace(data, **few))


def choose(live: TrainLive, **values: object) -> None:
    for name, value in values.items():
        {**live.choices, **live.controls}[name].value = value


def wait(condition: Callable[[], bool]) -> None:
    """As long as it takes; a run that hangs is ended by whoever started the tests."""
    while not condition():
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bernoulli", "halo", "dense"])
def test_a_run_trains_to_its_end_and_is_drawn(live: TrainLive, method: str, tmp_path: Path) -> None:
    choose(live, method=method, epochs=2)
    live.start()
    wait(lambda: not live.is_running)
    assert live.trainer is not None
    assert live.trainer.epoch == 2
    assert "finished: epoch 2 of 2" in live.status.value
    assert "after epoch 2" in live.picture.value
    plain = live.export(tmp_path)
    loaded = load_model(tmp_path)
    images = live.trainer.dataset.eval_images[:50]
    torch.testing.assert_close(loaded(images), plain(images))


def test_a_run_pauses_between_steps_goes_on_and_stops_with_what_it_learned(
    live: TrainLive, tmp_path: Path
) -> None:
    choose(live, method="bernoulli", epochs=100)
    live.start()
    wait(lambda: live.trainer is not None and live.trainer.step > 5)
    trainer = live.trainer
    assert trainer is not None
    live.pause()
    live.start_button.click()
    reached = trainer.step
    wait(lambda: trainer.step > reached)
    live.pause()
    reached = trainer.step
    time.sleep(0.5)
    assert trainer.step <= reached + 1  # the step in progress
    assert live.is_running
    with pytest.raises(TrainingError, match="start a run, or stop it"):
        live.export(tmp_path)
    live.stop()
    assert not live.is_running
    assert trainer.step <= reached + 1
    assert "stopped" in live.status.value
    assert architecture(live.export(tmp_path))[0] == 784


def test_an_impossible_setting_explains_itself_before_anything_runs(
    live: TrainLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(live, method="halo", epochs=2)
    monkeypatch.setitem(live.controls, "psi", FloatSlider(-1, min=-2))
    live.start()
    assert "psi is -1.0; expected a finite number above 0" in live.complaint.value
    assert not live.is_running
    assert live.trainer is None


def test_only_the_controls_of_the_method_are_shown_at_recommended_values(live: TrainLive) -> None:
    choose(live, method="halo", epochs=60)
    shown = {name for name, c in live.controls.items() if c.layout.display != "none"}
    assert shown == {"xi", "psi", "initial_coefficient"}
    assert live.settings().psi == pytest.approx(5e-5)
    choose(live, epochs=6)
    assert live.settings().psi == pytest.approx(5e-4)
    choose(live, model="lenet-5", method="bernoulli", log_gamma=50.0)
    assert live.settings().log_gamma == pytest.approx((50.0, 85.0, 12.5))


@pytest.mark.slow
def test_pixels_and_units_keep_their_numbers_until_the_gates_are_out(
    live: TrainLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels of the picture are those that the network of the end reads."""
    choose(live, epochs=12, log_gamma=3.0, theta_step=0.08)
    noted = []
    follow(live, monkeypatch, lambda columns: noted.append(columns.columns))
    assert live.trainer is not None
    assert len(noted) == 12
    totals = [[c.total for c in columns] for columns in noted]
    assert totals == [[784, 300, 100]] * 12
    kept = [set(columns[0].index) for columns in noted]
    assert len(kept[0]) == 784 > len(kept[-1]) > 10
    for (earlier, later), columns in zip(pairwise(kept), noted[1:], strict=True):
        assert later <= earlier
        assert set(columns[0].gone) == earlier - later
    read = live.trainer.model.state_dict()["gate0.index"]
    assert noted[-1][0].index.tolist() == read.tolist()
    assert [len(c.index) for c in noted[-1]] == live.trainer.trajectory[-1]["architecture"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "method", "pixels"),
    [
        ("lenet-300-100", "bernoulli", True),
        ("lenet-300-100", "bernoulli", False),
        ("lenet-300-100", "halo", True),
        ("lenet-5", "bernoulli", False),
        ("lenet-5", "halo", False),
    ],
)
def test_the_picture_has_the_panels_of_the_page(
    live: TrainLive, monkeypatch: pytest.MonkeyPatch, model: str, method: str, pixels: bool
) -> None:
    figures = []

    def keep(figure: Figure, alt: str) -> str:
        figures.append(figure)
        return alt

    monkeypatch.setattr("pruning_core.widgets.live.image_of", keep)
    choose(live, model=model, method=method, epochs=1)
    if method == "bernoulli" and model == "lenet-300-100":
        choose(live, gate_inputs=pixels)
    sizes = []
    follow(
        live, monkeypatch, lambda columns: sizes.append([links.shape for links in columns.links])
    )
    hidden = {"lenet-300-100": [300, 100], "lenet-5": [20, 50, 500]}[model]
    units = [784, *hidden] if pixels else hidden
    assert sizes == [[(after, before) for before, after in pairwise([*units, 10])]]
    axes = figures[-1].axes
    titles = [axis.get_title(loc="left") for axis in axes]
    assert titles[-3:] == ["test error, %", "weights kept, %", "error against weights"]
    assert titles[0].startswith("input pixels") is pixels
    assert len(axes) == 5 + pixels
    middle = {"bernoulli": "what each unit is worth", "halo": "λ of each weight"}[method]
    assert titles[-4].startswith(middle)
    if method == "bernoulli":
        dots = [len(dots.get_offsets()) for dots in axes[-4].collections]
        assert dots == units


def follow(
    live: TrainLive, monkeypatch: pytest.MonkeyPatch, look: Callable[[Columns], object]
) -> None:
    """Train to the end; ``look`` sees the columns after every epoch."""
    draw = live.after_epoch

    def watch(run: Run) -> None:
        draw(run)
        assert live.columns is not None
        look(live.columns)

    monkeypatch.setattr(live, "after_epoch", watch)
    live.start()
    wait(lambda: not live.is_running)
    assert "finished" in live.status.value, live.complaint.value


def test_it_loads_mnist_by_itself() -> None:
    dataset: Dataset = TrainLive(ARCHIVE).dataset
    assert len(dataset.train_labels) == 60_000
