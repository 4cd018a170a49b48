"""brmrs: from a raw Amazon review dump to a multimodal recommender. Independent of Prefect."""
