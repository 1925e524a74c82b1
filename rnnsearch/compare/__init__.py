"""From the records of trials to who is better, how surely, and with what caveats."""
