"""Speed and memory, each figure beside a peer measured in the same run. Nothing here is a test and nothing asserts a time."""
