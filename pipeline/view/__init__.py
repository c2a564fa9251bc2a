"""What a user looks at: progress and tables, made from the run store and from events."""
