"""The `pipeline` command: one module per subcommand."""
