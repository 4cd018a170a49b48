"""Artifacts, records and locks at an address that several machines share."""
