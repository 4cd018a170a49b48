"""Comparison of several recommenders, and tuning."""
