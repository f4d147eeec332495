"""Other people's files: archive zips and tables as they really are, read row by row where they must be."""
