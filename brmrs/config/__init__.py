"""The configuration: sections, files, models."""
