"""Facts about models that are known without loading them."""
