"""Text and visual features of items."""
