"""What the documentation takes from the code, so that it cannot be wrong.

    python -m docs.make            write every generated page
    python -m docs.make --check    exit 1 and name the pages that are stale

Sphinx builds the site from them and from the pages written by hand: ``make docs``.
"""
