"""What is known of models before they are loaded."""
