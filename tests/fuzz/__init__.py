"""Every parser of outside input, with inputs that nobody meant.

`make unit` tries them for seconds (tests/unit/adversarial/test_fuzz_targets.py), `make fuzz` for minutes. What was
found lies in `corpus/`, one file per input, in a folder of its parser.
"""
