"""The text trunk that sarcasm and entities read."""
