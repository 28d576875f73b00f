"""The one compiled file; everything else stands in pyproject.toml.

``optional``: without a compiler the install succeeds and the pure Python parser is used.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("arietta.midi._fastread", ["arietta/midi/_fastread.c"], optional=True),
    ]
)
