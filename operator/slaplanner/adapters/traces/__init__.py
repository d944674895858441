"""Recorded load from files: single requests (`trace`) and series of counts (`series`)."""
