"""The expression bundle: a face detector and what faces show."""
