"""The recommenders, one file each, with the interface in `base.py`."""
