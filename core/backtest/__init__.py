"""Backtests: a slow engine anyone can check by eye, a compiled one that must equal it, and their result."""
