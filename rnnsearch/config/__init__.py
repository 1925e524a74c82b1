"""What a study file and the environment say: the schema, where things lie, what is secret."""
