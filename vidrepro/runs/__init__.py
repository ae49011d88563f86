"""A run on disk: its name and folder, its record, its checkpoints."""
