"""``python -m arietta`` is the ``arietta`` command."""

from __future__ import annotations

from arietta.cli.main import main

if __name__ == "__main__":
    main()
