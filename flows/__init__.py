"""The flows, each the table of contents of its work, and the `brmrs` command."""
