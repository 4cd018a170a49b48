"""The stage cache: artifacts, keys, execution, plan, runs, lineage."""
