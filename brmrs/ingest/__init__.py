"""Dump formats, quarantine and k-core."""
