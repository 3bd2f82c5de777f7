"""Turn the numbers of a closed form, and see its figure change."""

from __future__ import annotations

import base64
import inspect
import io
from collections.abc import Callable
from html import escape

import numpy as np
import torch
from ipywidgets import HTML, Dropdown, FloatLogSlider, FloatSlider, ValueWidget, VBox
from matplotlib.figure import Figure
from PIL import Image

from pruning_core.baselines.penalties import Bridge, Lasso, Ridge
from pruning_core.explorers import joint, unit
from pruning_core.figures import convergence, hyperprior, shrinkage
from pruning_core.halo import bridge_scale, bridge_threshold
from pruning_core.hyperprior import Fixed, Flattening, beta_of_price
from pruning_core.theory.dynamics import Bounds, OneUnit
from pruning_core.theory.single_weight import joint_path

_WIDE = {"description_width": "14em"}
STARTS, JOINT_STARTS = unit.STARTS, joint.STARTS
"""The trajectories of θ and ‖w‖, and of w and λ, begin here with a kernel and without."""


def explore(draw: Callable[..., Figure], **controls: ValueWidget) -> VBox:
    """Controls, and the figure that is drawn of their values whenever one of them changes.

    Args:
        draw: its arguments are named like the controls; the first line of its docstring describes
            the figure to those who do not see it. If it raises a ValueError, that is shown in
            place of a new figure.
        controls: by argument.
    """
    picture, complaint = HTML(), HTML()
    description = (inspect.getdoc(draw) or "").splitlines()[0]

    def update(_: object = None) -> None:
        try:
            figure = draw(**{name: control.value for name, control in controls.items()})
        except ValueError as error:
            complaint.value = complaint_of(error)
        else:
            complaint.value = ""
            picture.value = image_of(figure, description)

    for control in controls.values():
        control.observe(update, names="value")
    update()
    return VBox([*controls.values(), complaint, picture])


def image_of(figure: Figure, description: str) -> str:
    """The figure as an element of HTML, which has a description where an image widget has none."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    with Image.open(drawn) as image:  # in few colours it takes a third of the room
        image.convert("RGB").quantize(64).save(small, format="png", optimize=True)
    data = base64.b64encode(small.getvalue()).decode()
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'


def complaint_of(error: Exception) -> str:
    """What is wrong with a setting, as an element of HTML that screen readers announce."""
    return f'<p role="alert">{escape(str(error))}</p>'


def hyper_prior() -> VBox:
    """The price of a unit under the flattening hyper-prior, a fixed prior and a Beta one."""
    worth = torch.linspace(0, 40, 401, dtype=torch.float64)
    views = {
        "cost of the unit": hyperprior.costs,
        "density of π": hyperprior.densities,
        "θ at rest": lambda priors: hyperprior.resting_places(priors, worth),
    }

    def draw(log_gamma: float, shown: str) -> Figure:
        """Flattening, fixed and Beta hyper-priors of the same price."""
        priors = {
            "flattening": Flattening(log_gamma),
            "fixed π": Fixed(1 / (1 + np.exp(log_gamma))),
            "Beta(1, b)": beta_of_price(log_gamma),
        }
        return views[shown](priors)

    return explore(
        draw,
        log_gamma=_slider("price log γ, nats", 4.0, 0.5, 30.0, 0.5),
        shown=Dropdown(options=list(views), description="shown", style=_WIDE),
    )


def life_of_a_unit() -> VBox:
    """The plane of θ and ‖w‖ of one unit: from where it dies, and from where it survives."""

    def draw(log_gamma: float, kappa: float, decay: float, theta_rate: float) -> Figure:
        """Trajectories of θ and of the norm of a unit's weights, over the region where it dies."""
        one = OneUnit(Bounds(log_gamma, kappa, decay, theta_rate), limit=1.5)
        return convergence.phase_portrait(one, np.array(STARTS), duration=30, steps=500)

    return explore(
        draw,
        log_gamma=_slider("price log γ, nats", 0.5, 0.1, 1.5, 0.05),
        kappa=_slider("κ, nats per unit of weight", 1.0, 0.5, 2.0, 0.1),
        decay=_slider("weight decay λ", 0.3, 0.0, 1.0, 0.05),
        theta_rate=_slider("speed η of θ", 1.0, 0.1, 10.0, 0.1),
    )


def penalties() -> VBox:
    """The thresholding rule that HALO amounts to, beside those of ridge and lasso."""
    values = torch.linspace(0, 4, 801, dtype=torch.float64)

    def draw(xi: float, psi: float) -> Figure:
        """Thresholding rules of HALO's bridge, of the lasso with its threshold, and of ridge."""
        scale = bridge_scale(xi, psi)
        threshold, _ = bridge_threshold(scale)
        rules = {
            "ridge": Ridge(0.3).thresholded(values),
            "lasso": Lasso(threshold).thresholded(values),
            "hard": torch.where(values > threshold, values, 0.0),
            "bridge": Bridge(scale).thresholded(values),
        }
        return shrinkage.thresholding_rules(rules, values, threshold)

    return explore(draw, xi=_log_slider("ξ", 0.19), psi=_log_slider("ψ", 0.19))


def joint_descent() -> VBox:
    """A weight and its coefficient on their way, from several starts."""
    starts = torch.tensor(JOINT_STARTS)

    def draw(xi: float, psi: float, target: float, ratio: float) -> Figure:
        """Paths of a weight w and its coefficient λ, with the curve of the best λ."""
        targets, (weights, coefficients) = torch.full((len(starts),), target), starts.T
        paths = joint_path(
            targets, weights, coefficients, xi, psi, step=joint.STEP, steps=joint.STEPS, ratio=ratio
        )
        return shrinkage.paths({f"λ's rate {ratio:g} × w's": paths}, xi, psi)

    return explore(
        draw,
        xi=_log_slider("ξ", 0.19),
        psi=_log_slider("ψ", 0.6),
        target=_slider("what the data want, z", 0.9, 0.0, 2.0, 0.05),
        ratio=_log_slider("rate of λ over that of w", 1.0, -1.0, 1.0),
    )


def _slider(label: str, value: float, low: float, high: float, step: float) -> FloatSlider:
    return FloatSlider(
        value, min=low, max=high, step=step, description=label, style=_WIDE, continuous_update=False
    )


def _log_slider(label: str, value: float, low: float = -2.0, high: float = 0.5) -> FloatLogSlider:
    return FloatLogSlider(
        value,
        min=low,
        max=high,
        step=0.05,
        description=label,
        style=_WIDE,
        continuous_update=False,
    )
