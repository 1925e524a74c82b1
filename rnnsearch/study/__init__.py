"""A study as a whole: its plan, its run, and what can be done with it later."""
