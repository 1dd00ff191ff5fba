"""What the README shows is run."""

from __future__ import annotations

import re
import shlex

import pytest

from client.command.arguments import parse
from preprocess_service.settings import Settings
from tests.triton_process import REPOSITORY_ROOT

README = (REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8")


def test_the_gateway_example_runs(service):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    alerts = []

    exec(  # noqa: S102
        example.replace("127.0.0.1:50051", service.address).replace("deadline_s=2", "deadline_s=30"),
        {"mulaw_bytes": bytes(range(256)) * 100, "alert": lambda *said: alerts.append(said)},
    )

    assert len(alerts) <= 1


@pytest.mark.parametrize("line", re.findall(r"^\$ \.venv/bin/wigeup (.*?)(?:#.*)?$", README, re.MULTILINE))
def test_the_commands_are_understood(line):
    assert parse(shlex.split(line)).command in ("classify", "models", "health")


def test_the_settings_exist():
    named = set(re.findall(r"WIGEUP_([A-Z_]+)`", README)) - {"PUBLISH"}  # of docker-compose.yml

    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)
