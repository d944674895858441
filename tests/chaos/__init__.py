"""Faults on real parts: an API server, etcd, Prometheus and the operator as a process of its own.

`python -m tests.chaos` plays them all and writes docs/reliability.md; `--soak SECONDS` plays them at random for
that long and records memory, threads and descriptors. tests/integration/test_chaos.py plays a few in CI.
"""
