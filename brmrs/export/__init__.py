"""Export a run: vectors, recommendations, or its data in the layout of another toolbox."""
