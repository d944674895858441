"""The functional core: values in, values out.

Nothing here performs I/O, reads a clock, writes a log or looks at the environment. What the
outside world is like comes in as an argument; what should be done about it goes out as a value
that carries its evidence and its reason. So the operator, the dry-run, the simulation and a
notebook call the same functions and get the same answers.
"""
