"""How fast this library is, beside the raw SDK in the same run: `python -m tests.benchmarks`.

Measured on any machine; what counts is the ratios, not the seconds.
"""
