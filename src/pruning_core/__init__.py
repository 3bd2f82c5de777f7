"""Learning sparse neural networks: Bernoulli variational pruning, HALO, and the field around."""

from importlib.metadata import version

from pruning_core.bernoulli import BernoulliPruner
from pruning_core.checkpoints import load_checkpoint, save_checkpoint
from pruning_core.compaction import compact_
from pruning_core.estimators import DisARM, ExactSum, Reinforce
from pruning_core.export import export, load_model, remove_gates_, save_model
from pruning_core.gates import BernoulliGate, InputGate, named_gates, sampled_gates
from pruning_core.halo import Halo
from pruning_core.hyperprior import Beta, Fixed, Flattening
from pruning_core.inputs import Inputs
from pruning_core.insertion import insert_gates_
from pruning_core.layers import LayerGate
from pruning_core.merging import merge_linear_
from pruning_core.models import lenet_5, lenet_300_100
from pruning_core.pathwise import IntegratedGates, StraightThrough
from pruning_core.removal import CompactionError
from pruning_core.residual import lenet_5_skip, residual_cnn, residual_perceptron
from pruning_core.resizing import ModelFileError
from pruning_core.sparsity import make_permanent_, prune_, prune_below_, sparsity_curve
from pruning_core.target import TargetSize

__version__ = version("pruning-core")

__all__ = [
    "BernoulliGate",
    "BernoulliPruner",
    "Beta",
    "CompactionError",
    "DisARM",
    "ExactSum",
    "Fixed",
    "Flattening",
    "Halo",
    "InputGate",
    "Inputs",
    "IntegratedGates",
    "LayerGate",
    "ModelFileError",
    "Reinforce",
    "StraightThrough",
    "TargetSize",
    "compact_",
    "export",
    "insert_gates_",
    "lenet_5",
    "lenet_5_skip",
    "lenet_300_100",
    "load_checkpoint",
    "load_model",
    "make_permanent_",
    "merge_linear_",
    "named_gates",
    "prune_",
    "prune_below_",
    "remove_gates_",
    "residual_cnn",
    "residual_perceptron",
    "sampled_gates",
    "save_checkpoint",
    "save_model",
    "sparsity_curve",
]
