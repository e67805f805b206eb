"""One module per subcommand; `autograder.cli.COMMANDS` says which is imported when."""
