"""The sentiment bundle: a picture with its words."""
