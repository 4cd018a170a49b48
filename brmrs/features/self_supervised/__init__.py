"""Backbones trained on the data set's own pictures, without labels."""
