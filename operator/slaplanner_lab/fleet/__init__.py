"""Plays the serving side: Dynamo's operator, its engines and its frontend, without a GPU.

Against a real API server it does what the real ones do with a DynamoGraphDeployment: replicas start
after a delay, its status moves, scaling adapters are copied into it, a trace is served through the
replicas that are ready, and the frontend's metrics tell of it.

The package has a pure inside (`graph`, `replicas`, `status`, `adapters`, `convert`, `frontend`,
`traffic`, `serving`, `played`: values and clocks come in as arguments) and a thin shell (`kube`,
`program`, `web`, `webhook`, `install`, `launch`).

The operator's own reading of a DynamoGraphDeployment is not used here on purpose: two readings
that were written apart show each other's mistakes.
"""
