"""The parts of Benchmarks/run: rows, subjects, load, measure and report. Standard library only."""
