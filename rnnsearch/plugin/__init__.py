"""What a plugin is made of, and how plugins are found, loaded, checked and written."""
