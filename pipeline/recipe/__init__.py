"""What a user writes against: recipes, fields, configuration, tasks."""
