"""What goes wrong in Faust 0.15.3, shown on plain Faust and on Millstream; see docs/faust-hazards.md.

The plain case is expected to fail: once it passes, Faust has mended it, and our own way round may go.
"""
