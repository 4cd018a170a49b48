"""Metrics, per-user results, and the contribution of each branch of a model."""
