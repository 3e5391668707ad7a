"""Training: state and step, placement, data order, checkpoints, metrics, the loop."""
