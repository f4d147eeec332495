"""What may be risked: limits with a verdict in words, sizes, stops, exposure."""
