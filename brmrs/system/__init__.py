"""Files, progress, machine, memory, checkpoints."""
