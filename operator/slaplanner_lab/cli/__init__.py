"""The laboratory's subcommands; `slaplanner` finds them by the entry points in pyproject.toml."""

SUMMARIES = {
    "dryrun": "Replay a trace: what would a policy decide?",
    "fleet": "Simulate Dynamo and its engines, without GPUs.",
    "forecast": "Compare predictors on a trace or a series.",
    "profile": "Check and show a measured profile.",
    "simulate": "Play a trace through a fleet that scales.",
    "trace": "Make a trace of what a deployment served.",
}
