"""Exact resume after SIGKILL; `benchmarks/resume.py` makes more trials of it."""

import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "resume.py"


def test_a_killed_run_goes_on_to_the_same_bits():
    done = subprocess.run([sys.executable, SCRIPT, "--kills", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 runs, 1 killed, 1 equal to the undisturbed one" in done.stdout
