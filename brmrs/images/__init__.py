"""Pictures of items: from a folder or the web, checked, one file per content."""
