"""Published methods, one per file: pure functions of arrays, each with its reference and its slow truth in the tests."""
