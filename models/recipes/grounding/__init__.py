"""Query grounding: where in an image what the words name is."""
