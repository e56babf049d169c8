"""Training: patches in, a better module out, with checkpoints that survive being killed."""
