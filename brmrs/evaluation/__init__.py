"""Metrics, per-user results, and what each branch of a model contributes."""
