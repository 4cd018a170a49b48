"""Pictures: addresses, fetching, decoding, one file per content."""
