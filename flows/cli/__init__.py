"""The `brmrs` command."""
