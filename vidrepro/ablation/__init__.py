"""Which runs a choice of rows and seeds needs, each resolved, and doing them side by side."""
