"""The ``arietta`` command: parse, call one function, report."""
