"""The laboratory's subcommands; `slaplanner` finds them by the entry points in pyproject.toml."""
