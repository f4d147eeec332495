"""What is known: candles and other series, where they came from, and how complete they are."""
