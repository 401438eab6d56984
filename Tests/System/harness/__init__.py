"""The system tests' own tools: a proxy under test, real and scripted origins, and clients.

Python's standard library only. Nothing here decides whether the proxy is right; the tests do.
"""
