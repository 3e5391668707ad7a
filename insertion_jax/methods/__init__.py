"""One family of generative models a file: loss, bound, sampler. Pure functions."""
