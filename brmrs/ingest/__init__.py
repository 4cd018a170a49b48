"""Dump formats, quarantine, k-core, split, and the sample dump's generator."""
