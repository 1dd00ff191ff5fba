"""What the README shows is run."""

from __future__ import annotations

import re
import shlex

import pytest

from client.command.arguments import parse
from preprocess_service.settings import Settings
from tests.triton_process import REPOSITORY_ROOT

README = (REPOSITORY_ROOT / "README.md").read_text(encoding="utf-8")


EXAMPLES = dict(zip(("recording", "live call"), re.findall(r"```python\n(.*?)```", README, re.DOTALL), strict=True))


def run(example, service, **names):
    code = example.replace("127.0.0.1:50051", service.address).replace("deadline_s=2", "deadline_s=30")
    exec(code, names)  # noqa: S102
    return names


def test_the_example_of_a_recording_runs(service):
    alerts = []

    run(EXAMPLES["recording"], service, mulaw_bytes=bytes(range(256)) * 100, alert=lambda *said: alerts.append(said))

    assert len(alerts) <= 1


async def test_the_example_of_a_live_call_runs(service):
    async def packets():
        for _ in range(100):
            yield bytes(range(160))

    names = run(EXAMPLES["live call"], service, alert=print)
    summary = await names["watch"](packets())

    assert summary.audio_s == pytest.approx(2)
    assert summary.updates == 2


@pytest.mark.parametrize("line", re.findall(r"^\$ \.venv/bin/wigeup (.*?)(?:#.*)?$", README, re.MULTILINE))
def test_the_commands_are_understood(line):
    assert parse(shlex.split(line)).command in ("classify", "models", "health", "stream", "bridge")


def test_the_settings_exist():
    named = set(re.findall(r"WIGEUP_([A-Z_]+)`", README)) - {"PUBLISH"}  # of docker-compose.yml

    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)
