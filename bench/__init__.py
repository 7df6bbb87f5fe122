"""
Measurements of the collector. Run them from the top level: `python -m bench.throughput`, and so on.

Each program says in its first lines what it measures and why so; all run on 127.0.0.1, keep their database in
a temporary folder that they remove, and end by themselves. They need Linux: processor time comes from /proc.
"""
