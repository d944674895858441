"""Planners that a simulation is compared with: constant sizes, HPAs, Dynamo's formulas, a clairvoyant."""
