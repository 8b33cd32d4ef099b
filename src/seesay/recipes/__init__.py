"""Training recipes: one folder or file a recipe."""
