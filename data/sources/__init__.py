"""Where data comes from: one fenced transport, the sources behind it, and the ladder that chooses among them."""
