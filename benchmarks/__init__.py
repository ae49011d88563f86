"""What only developers time: training steps, preparation, start-up, and whether anything leaks the direction of time.

``python -m benchmarks step|prepare|startup|leak``; not part of the installed package.
"""
