"""What the user sees. Pages draw what the facade returns; they compute nothing."""
