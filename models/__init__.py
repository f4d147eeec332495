"""What it may become: forecasters, their validation and their shelf (built with the issue on models)."""
