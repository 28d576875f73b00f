"""Take addresses of package indexes out of a list of components (CycloneDX, JSON).

    python requirements/without_index.py sbom.cdx.json

cyclonedx-py guesses them; where packages come from is the installer's choice. Hashes stay in
``release.txt``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Rewrite the file."""
    path = Path(sys.argv[1])
    listed = json.loads(path.read_text("utf-8"))
    for component in [*listed["components"], *listed["metadata"]["tools"]["components"]]:
        references = component.pop("externalReferences", [])
        if kept := [r for r in references if r["type"] != "distribution"]:
            component["externalReferences"] = kept
    path.write_text(json.dumps(listed, indent=2), "utf-8")


if __name__ == "__main__":
    main()
