"""The laboratory: try a policy on recorded or simulated load, without a cluster and without GPUs.

It imports `slaplanner`, whose pure `core` decides here exactly as it decides in the cluster.
`slaplanner` never imports the laboratory, and the operator's image does not contain it.

- `engine`: how one replica behaves under load; the simulation and the fleet share it
- `simulation`: the closed loop of load, engine and planner
- `rivals`: other planners that a simulation is compared with
- `fleet`: plays Dynamo's operator and its workers in front of a real API server and Prometheus
- `dryrun`, `backtest`: the planner, or its forecast alone, over a trace; no feedback
- `drawing`: figures and the report
- `cli`: the laboratory's subcommands of `slaplanner`
- `notebook`: what `from slaplanner import ...` offers to Python users
"""
