"""What it means: typed scores from what is known at one moment."""
