"""What pages share: session and frame, theme, widgets, charts."""
