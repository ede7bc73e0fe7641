"""Picture words: what an image shows, in words."""
