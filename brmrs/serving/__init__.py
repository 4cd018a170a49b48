"""Recommendations from a model bundle."""
