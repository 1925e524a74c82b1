"""How wide each model has to be to meet one parameter budget, and what is left to search."""
