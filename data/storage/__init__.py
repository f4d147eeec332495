"""What survives: candles and observations in Parquet, proven by hash, damaged files set aside."""
