/* made by tests/peer/accuracy.py: don't edit */
{"x", 0, 0.0017, 0},
