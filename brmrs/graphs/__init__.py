"""Top-k similarity, homogeneous graphs, the normalised user-item graph, the sparse product."""
