"""slaplanner: keeps LLM serving inside its latency targets with the fewest GPUs.

The map, and the law of imports (checked by import-linter):

- `core`: the functional core. Values in, values out; no cluster, clock, log or environment.
- `api`: what users wrote. The SLAPolicy's schema, its defaults, its conversion to core values.
- `adapters`: the world. One small module per outside system.
- `offline`: the core over a trace, without a cluster.
- `controller`: the imperative shell; the only place that knows kopf.
- `fleet`: plays the serving side (Dynamo's operator and engines) for tests and laptops.
- `cli`: the command line.

`core` <- `api`, `adapters` <- `offline` <- `controller`, `fleet` <- `cli`: the right may import the
left, never the reverse.
"""

__version__ = "0.1.0"
