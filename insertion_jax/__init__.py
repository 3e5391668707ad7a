"""Generative models that write sequences by inserting tokens.

The pure functions and structs named here are the public interface; each is documented
in its module.
"""

from insertion_jax.core import event_times as event_times
from insertion_jax.core import exact as exact
from insertion_jax.core import schedules as schedules
from insertion_jax.core.estimators import leave_one_out as leave_one_out
from insertion_jax.core.estimators import poisson_divergence as poisson_divergence
from insertion_jax.core.noising import Noised as Noised
from insertion_jax.core.noising import gap_sums as gap_sums
from insertion_jax.core.noising import noise as noise
from insertion_jax.core.permutations import inverse as inverse
from insertion_jax.core.permutations import plackett_luce as plackett_luce
from insertion_jax.core.permutations import (
    plackett_luce_log_prob as plackett_luce_log_prob,
)
from insertion_jax.core.permutations import uniform as uniform
from insertion_jax.core.trajectories import canvas_of as canvas_of
from insertion_jax.core.trajectories import insert as insert
from insertion_jax.core.trajectories import (
    permutation_from_slots as permutation_from_slots,
)
from insertion_jax.core.trajectories import prefix_mask as prefix_mask
from insertion_jax.core.trajectories import slot_of as slot_of
from insertion_jax.core.trajectories import (
    slots_from_permutation as slots_from_permutation,
)
from insertion_jax.methods.insertion_process import elbo_surrogate as elbo_surrogate
from insertion_jax.methods.insertion_process import (
    importance_weighted_bound as importance_weighted_bound,
)
from insertion_jax.methods.insertion_process import sample as sample
from insertion_jax.methods.insertion_process import (
    trajectory_log_prob as trajectory_log_prob,
)
from insertion_jax.types import Batch as Batch
from insertion_jax.types import Canvas as Canvas
from insertion_jax.types import InsertionLogits as InsertionLogits
from insertion_jax.types import Method as Method
from insertion_jax.types import Network as Network
from insertion_jax.types import TrajectoryPolicy as TrajectoryPolicy

__version__ = "0.1.0"
