"""Checkpoints of other projects' released code: what they call their tensors, and how they become ours."""
