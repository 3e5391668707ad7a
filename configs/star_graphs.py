"""Star-graph planning.

    python -m insertion_jax.main --mode=train --workdir=DIR \\
        --config=configs/star_graphs.py:tier=easy,order=uniform,size=cpu

The argument after the colon picks, in any order:

    tier    tiny (default), easy, medium, hard
    method  insertion_process (default), flexmdm, loflexmdm
    order   learned (default), uniform, left_to_right, task (prescribed: back from the
            goal to the junction, then on from the source); of the Insertion Process
    network canvas (default: the whole canvas anew at every step, as in the paper),
            trajectory (each token computed once, when it is inserted; of the
            Insertion Process)
    size    cpu (default), paper, smoke

The quickstart is `tier=easy`: on two cores some minutes, 100 % exact match on held-out
graphs (3 seeds). `paper` is the planning network and schedule of Zhang et al. (arXiv 2606.02133):
12 layers of width 128, a posterior of 6 layers of width 64, 78,100 updates of 64
examples. `cpu` is sized for minutes on two cores, ten of one core for medium, and about
an hour of one for hard; `smoke` ends within a minute, nearly all of which is
compilation, and learns nothing. RESULTS.md says what each reaches; medium and hard were
measured for the Insertion Process on the canvas network alone.
"""

import pathlib

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

_ORDERS = ("learned", "uniform", "left_to_right")
_CHOICES = {
    "tier": ("tiny", "easy", "medium", "hard"),
    "method": ("insertion_process", "flexmdm", "loflexmdm"),
    "order": (*_ORDERS, "task"),
    "network": ("canvas", "trajectory"),
    "size": ("cpu", "paper", "smoke"),
}


def get_config(argument: str = "") -> ConfigDict:
    """The config for a choice such as "tier=easy,order=uniform"."""
    given = parse(argument, _CHOICES)
    check_insertion_only(given)
    chosen = {name: values[0] for name, values in _CHOICES.items()} | given
    config = _base(chosen["tier"], chosen["method"], chosen["order"])
    if chosen["method"] != "insertion_process":
        _flexible(config)
    elif chosen["network"] == "trajectory":
        config.network.update(kind="trajectory", prompt_sees_canvas=False)
        config.method.num_steps = 0
    {"cpu": _cpu, "paper": _paper, "smoke": _smoke}[chosen["size"]](config)
    return config


def parse(
    argument: str, choices: dict[str, tuple[str, ...]], files: tuple[str, ...] = ()
) -> dict[str, str]:
    """Reads what follows the colon, for all configs of this folder.

    Args:
      argument: "name=value,...".
      choices: the values that each name allows.
      files: names that take the path of a file, besides their choices if any. No comma
        can be in it.

    Returns:
      What was named; paths are absolute, for a run goes on from wherever it is called.

    Raises:
      ValueError: says what is not allowed, and what is.
    """
    names = list(dict.fromkeys([*choices, *files]))
    given = {}
    for part in filter(None, argument.split(",")):
        name, _, value = part.partition("=")
        if name not in names:
            raise ValueError(
                f"The config's argument has no choice {name!r}; it has "
                f"{', '.join(names)}."
            )
        allowed = choices.get(name, ())
        if name in files and value not in allowed:
            if not value:
                others = f"{', '.join(allowed)} or " if allowed else ""
                raise ValueError(
                    f"{name} is empty in the config's argument; it must be {others}the "
                    "path of a file."
                )
            value = str(pathlib.Path(value).expanduser().absolute())
        elif value not in allowed:
            raise ValueError(
                f"{name} is {value!r} in the config's argument; allowed are "
                f"{', '.join(allowed)}."
            )
        given[name] = value
    return given


def check_insertion_only(
    given: dict[str, str], names: tuple[str, ...] = ("order", "network")
) -> None:
    """Raises a ValueError where another method is given choices of this one."""
    method = given.get("method", "insertion_process")
    for name in names:
        if name in given and method != "insertion_process":
            raise ValueError(
                f"{name} is a choice of insertion_process, not of {method}."
            )


def _base(tier, method, order):
    config = ConfigDict()

    config.task = ConfigDict()
    config.task.name = "star_graphs"
    config.task.tier = tier
    config.task.num_train = 50_000
    # The held-out splits decide which graphs the training split avoids: do not
    # change them between training and evaluation.
    config.task.num_validation = 100 if tier == "hard" else 1_000
    config.task.num_test = 5_000

    config.method = ConfigDict()
    config.method.name = method
    config.method.order = order  # learned, uniform, left_to_right, task
    # Updates over which left_to_right or task becomes certain, from the uniform order.
    config.method.order_steps = 0
    config.method.termination = "policy"  # policy: a stop outcome; eos: a token
    config.method.num_samples = 2  # orders a step is evaluated on (M)
    config.method.num_steps = 1  # steps of each order (K); 0: every step
    config.method.num_widths = 1  # to which the K canvases are cut; a divisor of K
    config.method.entropy_weight = 0.0  # extra weight of the posterior's entropy
    config.method.entropy_anneal_steps = 0  # changes over these; 0: not at all
    config.method.entropy_final_weight = 0.0  # to this
    config.method.share_dropout = True  # among the canvases of one example
    config.method.bound_samples = 16  # orders drawn for each example's bounds

    config.network = ConfigDict()  # the policy
    config.network.kind = "canvas"  # canvas, trajectory
    config.network.num_layers = 12
    config.network.num_heads = 8
    config.network.width = 128
    config.network.dropout = 0.1
    config.network.dtype = "float32"  # float32, bfloat16, mixed (factors alone)
    config.network.remat = False  # recompute blocks in the backward pass
    config.network.rope_base = 10_000.0
    config.network.mlp_ratio = 4.0  # hidden width of the MLP over width
    config.network.neighbours = False  # mix each token's embedding with its neighbours'
    config.network.embedding_scale = 0.02  # of embeddings at the start
    # Tell each token of the prompt its record of that many tokens, such as an edge's 2.
    config.network.prompt_record = 0
    config.network.prompt_positions = False  # learned vectors for places in the prompt
    config.network.counts = False  # its prompt sees how often each id stands in it
    config.network.prompt_sees_canvas = True  # False: prompts are encoded once

    config.order_network = ConfigDict()  # the posterior; unused for fixed orders
    config.order_network.num_layers = 6
    config.order_network.num_heads = 4
    config.order_network.width = 64
    config.order_network.dropout = 0.1
    config.order_network.dtype = "float32"
    config.order_network.remat = False
    config.order_network.rope_base = 10_000.0
    config.order_network.mlp_ratio = 4.0
    config.order_network.neighbours = False
    config.order_network.embedding_scale = 0.02  # of embeddings at the start
    config.order_network.prompt_record = 0
    config.order_network.prompt_positions = False
    config.order_network.counts = False  # a posterior's targets see them, too
    # Start from a soft left-to-right order, not from the uniform one: 1.0 and more.
    config.order_network.initial_slope = 0.0

    config.optim = ConfigDict()
    config.optim.learning_rate = 1e-4
    config.optim.warmup_steps = 1_000
    config.optim.schedule = "cosine"  # cosine, constant
    config.optim.weight_decay = 0.0
    config.optim.clip_norm = placeholder(float)  # none: no clipping
    config.optim.b1 = 0.9
    config.optim.b2 = 0.999
    # Above 0: Muon for hidden matrices, with updates of this root mean square times the
    # rate (AdamW's have about 0.2).
    config.optim.muon_rms = 0.0
    # Multiplies the learning rate of the posterior.
    config.optim.group_scale = {"order": 1.0} if order == "learned" else {}
    config.optim.ema_decay = 0.999
    config.optim.ema_start_step = 200

    config.train = ConfigDict()
    config.train.num_steps = 78_100  # 100 epochs of 50,000 examples, 64 at a time
    config.train.batch_size = 64  # over all devices
    config.train.chunk = 50  # steps in one compiled scan
    # Below 1, examples of like lengths are trained on together, for `bucket_steps`
    # steps in a row, with at most this share of padding in their targets.
    config.train.max_padding = 1.0
    config.train.bucket_steps = 50
    config.train.log_every = 100
    config.train.eval_every = 7_100
    config.train.checkpoint_every = 7_100
    config.train.keep_checkpoints = 3
    config.train.seed = 0
    config.train.placement = "pmap"  # pmap, sharded
    config.train.fsdp = False  # split the state over devices; sharded only

    config.evaluate = ConfigDict()
    config.evaluate.num_examples = 1_000  # held-out examples to sample for
    config.evaluate.num_bounds = 256  # of these, examples to bound the likelihood of
    config.evaluate.num_validation = 100  # the same two numbers during training
    config.evaluate.num_validation_bounds = 32
    config.evaluate.batch_size = 100

    config.sample = ConfigDict()
    config.sample.temperature = 1.0
    config.sample.top_p = 1.0
    config.sample.greedy = True  # plans have one right answer
    config.sample.num_pictures = 3  # samples whose order of insertion is drawn
    return config


def _flexible(config):
    """Puts flexible-length masked diffusion in the place of the Insertion Process."""
    learned = config.method.name == "loflexmdm"
    method = ConfigDict()
    method.name = config.method.name
    # Of the loss: elbo, paper, flexmdm. By the paper's an order is found sooner.
    method.normalisation = "paper" if learned else "elbo"
    method.num_samples = 2 if learned else 1  # noised sequences at each time (M)
    method.num_times = 1  # times (K); K x M canvases in all
    method.time_exponent = 2.0  # times are 1 - s^this, reweighted; 1: published
    method.share_dropout = True  # among the canvases of one example
    method.bound_samples = 64  # times at which an example's bound is estimated
    method.sampler_steps = 256  # leaps of the sampler
    method.sampler_exponent = 2.0  # they end at 1 - (1 - k / N)^this; 1: published
    method.top_k = 0  # tokens are drawn from the k most probable; 0: from all
    method.confidence = "none"  # none, top_prob, prob_diff, entropy
    method.count_without_hazard = False  # with a confidence: FlexMDM's published count
    if learned:
        method.shape = 1.0  # a, of the Kumaraswamy laws
        method.learns_unmask = False  # rates of unmasking are learned too, not 1
        method.rates_see_time = False  # published: True
        method.mean_weight = 0.01  # of the three penalties; published: 1 each
        method.boundary_weight = 1.0
        method.kl_weight = 0.0
    else:
        # linear, sine, cosine, polynomial, geometric
        method.insert_schedule = "linear"
        method.insert_parameters = ()  # of polynomial (exponent,), geometric (start, end)
        method.unmask_schedule = "linear"
        method.unmask_parameters = ()
        config.optim.group_scale = {}
    config.method = method

    del config.network.kind
    config.network.rates = ConfigDict()
    config.network.rates.function = "softplus"  # softplus, sigmoid, exp, discretised
    config.network.rates.low = 0.0
    config.network.rates.high = 100.0
    del config.order_network.initial_slope
    config.order_network.shares_trunk = False  # with the denoiser
    config.order_network.rates = ConfigDict()
    config.order_network.rates.function = "softplus"
    config.order_network.rates.low = 1.01
    config.order_network.rates.high = 100.0


def _paper(config):
    config.network.dtype = "bfloat16"
    config.order_network.dtype = "bfloat16"


def _cpu(config):
    config.network.update(
        num_layers=2,
        num_heads=4,
        width=64,
        mlp_ratio=2,
        dropout=0.0,
        neighbours=True,
        prompt_positions=True,
        prompt_sees_canvas=False,
    )
    config.order_network.update(
        num_layers=1,
        num_heads=2,
        width=32,
        mlp_ratio=2,
        dropout=0.0,
        neighbours=True,
        prompt_positions=True,
    )
    config.optim.update(learning_rate=3e-3, warmup_steps=200, clip_norm=1.0)
    steps = {"tiny": 1_000, "easy": 1_500, "medium": 5_000, "hard": 7_000}
    if config.task.tier in ("medium", "hard"):
        # To look an edge up, heads must tell up to 56 ids apart by phases that hardly
        # turn over a prompt of up to 112 tokens; 16 wide and of base 10,000 they have
        # few. Told whole edges, and with Muon, edges are more often found from both
        # ends.
        config.network.update(num_heads=2, rope_base=1e6, prompt_record=2)
        config.order_network.update(rope_base=1e6, prompt_record=2)
        config.optim.muon_rms = 0.6
        if config.method.get("order") == "learned":
            # Left alone the order settles on one that guesses somewhere: a bonus keeps
            # it open. Without learned places three seeds of three found edges from
            # both ends, one with a uniform order (RESULTS.md, "Hard").
            config.network.prompt_positions = False
            config.order_network.prompt_positions = False
            config.method.update(
                entropy_weight=5.0,
                # Then 3,000 updates at the final weight.
                entropy_anneal_steps=steps[config.task.tier] - 3_000,
                entropy_final_weight=0.5,
            )
            config.optim.group_scale.order = 0.3
            config.order_network.update(num_layers=2, width=64)
    # Four canvases an example for every order and method. On the canvas they are of two
    # orders where orders are drawn: a learned one has to compare, and a uniform one had
    # the higher exact match with two than with one at more steps (RESULTS.md).
    method = config.method
    if method.name != "insertion_process":
        method.num_times = 4 // method.num_samples
        kind = "canvas"
    else:
        kind = config.network.kind
        drawn = ("learned", "uniform") if kind == "canvas" else ("learned",)
        method.num_samples = 2 if method.order in drawn else 1
        if kind == "canvas":
            method.num_steps = 4 // method.num_samples
            if config.task.tier == "easy":
                # Fewer updates, of products that a CPU multiplies at a better rate.
                config.network.update(width=128, mlp_ratio=4)
                steps["easy"] = 1_000
    if kind == "trajectory":
        # Less noisy gradients bear larger steps; Muon's were not tried, and stay.
        config.optim.muon_rms *= config.optim.learning_rate / 8e-3
        config.optim.learning_rate = 8e-3
        config.network.embedding_scale = 1.0
        config.order_network.embedding_scale = 1.0
    # A long average would still hold what the network was before it found the rule.
    config.optim.ema_decay = 0.99
    if method.name != "insertion_process":  # a canvas has fewer tokens to learn from
        steps |= {"tiny": 4_000, "easy": 3_000, "medium": 15_000}
    config.train.update(
        num_steps=steps[config.task.tier],
        log_every=100,
        eval_every=500,
        checkpoint_every=500,
    )


def _smoke(config):
    config.task.update(num_train=200, num_validation=10, num_test=20)
    config.method.bound_samples = 2
    if "sampler_steps" in config.method:
        config.method.sampler_steps = 8
    config.network.update(num_layers=1, num_heads=2, width=16)
    config.order_network.update(num_layers=1, num_heads=2, width=16)
    config.optim.update(warmup_steps=2, ema_start_step=2)
    config.train.update(
        num_steps=20,
        batch_size=8,
        chunk=5,
        log_every=10,
        eval_every=10,
        checkpoint_every=10,
    )
    config.evaluate.update(
        num_examples=10,
        num_bounds=4,
        num_validation=4,
        num_validation_bounds=2,
        batch_size=5,
    )
