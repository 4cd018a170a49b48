"""The typed configuration: sections, files, models."""
