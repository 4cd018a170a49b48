"""Reading dumps that do not fit in memory: sorted runs and partitions on disk."""
