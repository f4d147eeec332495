"""Thin faces over the facade: one command and, later, one route per verb. No face computes."""
