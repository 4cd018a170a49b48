"""Raw Amazon dumps of three generations."""
