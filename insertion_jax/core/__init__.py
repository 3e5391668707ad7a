"""The maths of one example, without a batch axis: jax and chex alone."""
