"""What importing the client loads: it runs inside telephony gateways."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "keras", "librosa", "numpy", "scipy", "soxr", "soundfile", "jpype", "konlpy", "rich", "pydantic")


@pytest.mark.parametrize("module", ["client", "client.recordings"])
def test_import_leaves_heavy_modules_alone(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"

    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
