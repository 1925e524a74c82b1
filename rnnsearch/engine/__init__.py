"""The recurrent engine: from a cell's step to machine code that trains it; see README.md here."""
