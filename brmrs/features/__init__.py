"""Text and visual features of items, and the pictures they come from."""
