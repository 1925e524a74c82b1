"""What people look at: the page, its tables and its pictures."""
