"""The outside world, one module per system, asked off the event loop and each in threads of its own.

`ports` says what the controller asks, as protocols; the other modules answer. Nothing here decides.
Each method is one question or one order, bounded in time; what it raises is a `PlanningError` whose
reason the condition shows.
"""
