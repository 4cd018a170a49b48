"""Modality inconsistency in a trained model: which branch ranks what, and what fusion loses."""
