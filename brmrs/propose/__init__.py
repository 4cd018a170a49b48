"""Propose a configuration for a folder of data: `brmrs init`."""
