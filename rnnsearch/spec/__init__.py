"""What travels between stages: names and numbers that pickle and log, without torch."""
