"""What the record answers, in sentences with its numbers: for pages that sum up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pruning_core.studies import tables
from pruning_core.studies.archive import Archive
from pruning_core.studies.intervals import interval
from pruning_core.studies.ledger import counts
from pruning_core.studies.typography import tied


def advice(archive: Archive) -> str:
    """Whether to use either method and for what, as Markdown; every number is read.

    Args:
        archive: of the studies.
    """
    halo, halo_5, others, others_5, bernoulli, bernoulli_5, vib = (
        tables.by_point(archive, study)
        for study in (
            "halo-lenet-300-100",
            "halo-lenet-5",
            "baselines-lenet-300-100",
            "baselines-lenet-5",
            "lenet-300-100",
            "lenet-5",
            "vib",
        )
    )
    units, units_5 = bernoulli["pixels log_gamma=20"], bernoulli_5["price-100"]
    group, group_5 = others["group-lasso"], others_5["group-lasso"]
    small, dearest = vib["strength=0.00045"], bernoulli["pixels log_gamma=56"]
    return tied(f"""
**For single weights, try iterative magnitude pruning first.** At 95 % zeros of LeNet-300-100 its
error is {_error(others["iterative-magnitude"], 95)}, that of one cut with fine-tuning
{_error(others["magnitude-fine-tuned"], 95)}, that of the lasso {_error(others["l1"], 95)} and that
of HALO {_error(halo["large"], 95)}; all trained for as many epochs. HALO is worth a look where
nearly everything has to go and no schedule of cuts is wanted. At 98.5 % zeros its error is
{_error(halo["default"], 98.5)}, that of one coefficient for all weights
{_error(others["sws-sparse"], 98.5)}, that of the lasso {_error(others["l1-sparse"], 98.5)} and that
of the bridge {_error(others["bridge"], 98.5)}, which ten seeds do not tell apart. At 99 % of
LeNet-5 it is {_error(halo_5["default"], 99)}, and with iterative pruning
{_error(others_5["iterative-magnitude"], 99)}.

**For whole units, try the group lasso first: it is simpler, and as good.** On LeNet-300-100 it
leaves {_size(group)} of the weights with {_error(group)} error, Bernoulli pruning at 20 nats
{_size(units)} with {_error(units)}; on LeNet-5 {_size(group_5)} with {_error(group_5)}, beside
{_size(units_5)} with {_error(units_5)}. Bernoulli pruning is the better choice where work counts
more than weights, as it leaves {_macs(units_5)} of the multiply-accumulates of LeNet-5 and the
group lasso {_macs(group_5)}; where units are to leave *while* the network trains; or where a price
in nats is the knob you want. Where size and error are all that counts, VIBNet is smaller at the
same error: on LeNet-300-100 it leaves {_size(small)} of the weights with {_error(small)}, Bernoulli
pruning at 56 nats {_size(dearest)} with {_error(dearest)}; but its units stay until the training is
nearly over.
""")


def ledger_summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """What the ledger found, as a Markdown list.

    Args:
        claims: as :func:`pruning_core.studies.ledger.decided` gives them.
    """
    counted = counts(claims)
    abstracts, everything = counted.loc["The two abstracts"], counted.sum()
    of_abstracts, before = abstracts["claims"], abstracts["before"]
    return tied(f"""
- Of the {of_abstracts} claims made of the two abstracts, {abstracts["holds"]} hold,
  {abstracts["fails"]} fail and {abstracts["open"]} are open; {before} of those that hold were
  declared before their runs.
- Of all {everything["claims"]} claims, {everything["holds"]} hold,
  {everything["whole interval"]} of them with their whole interval.
- A condition on a mean is a coin toss at its limit; one on a whole interval is met there once in
  forty.
- Not every setting was chosen without a look at the test set; each exception weakens a verdict by
  an amount that nobody can compute.
- The hard parts were the gradient of θ, not pruning too early, and making small networks
  fast; the abstracts speak of none of them in numbers.
""")


def _error(runs: pd.DataFrame, zeros: float | None = None) -> str:
    """Mean test error, cut to so many zeros in percent if they are given, with its interval."""
    column = "test_error_percent" if zeros is None else f"error_at_{zeros:g}"
    few = "" if len(runs) >= 10 else f" ({len(runs)} seeds)"
    return f"{interval(runs[column])} %{few}"


def _size(runs: pd.DataFrame) -> str:
    return f"{runs['weights_percent'].mean():.1f} %"


def _macs(runs: pd.DataFrame) -> str:
    return f"{runs['macs_percent'].mean():.0f} %"
