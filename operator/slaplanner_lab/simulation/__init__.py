"""Simulation: a planner and a fleet in a closed loop, request by request, without a GPU.

`traffic` is what arrives, `loop` plays it, `telemetry` shows the planner what Prometheus would,
`score` says what came of it, `rivals` are other ways to decide.
"""
