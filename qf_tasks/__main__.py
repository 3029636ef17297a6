"""The command `qf-tasks`, also `python -m qf_tasks`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_NEEDED = ("typer", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name."""
    try:
        from qf_tasks.cli.app import run
    except ModuleNotFoundError as error:
        name, _, _ = str(error.name).partition(".")
        if name not in _NEEDED:
            raise
        sys.stderr.write(f'Error: {name} is missing. Hint: install qf-tasks with its extra "cli"\n')
        return 2
    except KeyboardInterrupt:  # during the imports
        return 130
    return run(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
