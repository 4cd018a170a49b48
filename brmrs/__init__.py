"""brmrs: from a raw Amazon review dump to a multimodal recommender. Knows nothing of Prefect."""
