"""Negative sampling, the trainer, checkpoints, the model bundle."""
