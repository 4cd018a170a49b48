"""The generator of the sample dump."""
