"""What a program prints as JSON, for the figures and for scaling.py."""

import json
import subprocess


class Failure(Exception):
    """What the user is told in one line."""


def read_json(command):
    """Starts a program, whose messages stay on the terminal, and returns what it printed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    except OSError as error:
        raise Failure(f"cannot start '{command[0]}': {error.strerror}") from error
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: exit code {done.returncode}, see above")
    return json.loads(done.stdout)
