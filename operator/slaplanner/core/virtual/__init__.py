"""Decisions that are published for somebody else to carry out, and the answers that come back.

Pure: what a publisher and a reader may do next, from what stands in the backend and what they
remember. `decisions` orders what is read, `publishing` says what to publish and what was answered.
"""
