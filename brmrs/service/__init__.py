"""The service: recommendations of finished runs over HTTP, and the page."""
