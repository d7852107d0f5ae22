"""The barrier before training, and the checkpoints behind it."""
