"""The recommenders, one file each; `base.py` holds the one interface they follow."""
