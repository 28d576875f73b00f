"""The compiled files; everything else stands in pyproject.toml.

``optional``: without a compiler the install succeeds; MIDI is then read by the pure Python parser
and models run on OpenVINO alone.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("arietta.midi._fastread", ["arietta/midi/_fastread.c"], optional=True),
        Extension(
            "arietta.models.kernel._vnni",
            ["arietta/models/kernel/_vnni.c"],
            extra_compile_args=["-O3"],
            optional=True,
        ),
    ]
)
