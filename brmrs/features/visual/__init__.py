"""Image embeddings."""
