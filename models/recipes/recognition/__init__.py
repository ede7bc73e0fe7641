"""Words of speech: Whisper tiny.en as two integer files."""
