"""Sarcasm: G2SAM, words and picture words."""
