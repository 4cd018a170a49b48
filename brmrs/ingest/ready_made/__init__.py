"""The literature's ready-made layout."""
