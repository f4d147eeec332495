"""Invented markets whose truths are known: the embedded exchange, and worlds as arrays for the tests of estimators."""
