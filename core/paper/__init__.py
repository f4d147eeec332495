"""What was said and done, written down when it happened."""
