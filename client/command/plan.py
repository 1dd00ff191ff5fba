"""What is to be sent: the recordings that the command line names, and how each becomes a request."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from client.aio import AsyncTriageClient
from client.channel import MAX_SEND_BYTES
from client.command import arguments, options
from client.errors import MessageTooLarge
from client.formats import AudioFormat, Channel, Priority
from client.recordings import expand, format_of, read_sidecar, read_transcript

STDIN = "-"


class UsageError(Exception):
    """The command line asks for what cannot be; the process ends with code 2."""


class ClassifyFields(TypedDict):
    """Keyword arguments of `classify` that are the same for every recording."""

    model: str
    model_version: str
    call_id: str
    priority: Priority
    channel: Channel


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording: a file, or the bytes that came from standard input."""

    name: str
    stdin_audio: bytes | None = None

    def read(self) -> bytes:
        """Its bytes; raises OSError, or MessageTooLarge for a file that no request can carry."""
        if self.stdin_audio is not None:
            return self.stdin_audio
        path = Path(self.name)
        size_bytes = path.stat().st_size
        if size_bytes > MAX_SEND_BYTES:
            raise MessageTooLarge(f"the file has {size_bytes} bytes; at most {MAX_SEND_BYTES} are sent at once")
        return path.read_bytes()


@dataclass(frozen=True, slots=True)
class Plan:
    """The recordings and what goes with each of them."""

    recordings: tuple[Recording, ...]
    given_format: AudioFormat | None
    transcript: str
    sidecars: bool
    fields: ClassifyFields

    def format_of(self, recording: Recording) -> AudioFormat:
        """Format of one recording; raises ValueError where nothing tells it."""
        if recording.stdin_audio is not None:
            return self.given_format or AudioFormat.file()
        return format_of(Path(recording.name), self.given_format)

    def transcript_of(self, recording: Recording) -> str:
        """Transcript of one recording; raises OSError or ValueError for a sidecar that cannot be read."""
        if self.sidecars and recording.stdin_audio is None:
            return read_sidecar(Path(recording.name))
        return self.transcript


def make_plan(args: argparse.Namespace) -> Plan:
    """Finds the recordings and reads the shared transcript; raises UsageError, or OSError or ValueError for it."""
    recordings = find(args.files)
    if len(recordings) > 1:
        _check_many(args, len(recordings))
    return Plan(
        recordings=recordings,
        given_format=options.audio_format(args),
        transcript=_shared_transcript(args),
        sidecars=args.sidecar_transcripts,
        fields=ClassifyFields(
            model=args.model,
            model_version=args.model_version,
            call_id=args.call_id,
            priority=options.priority(args),
            channel=arguments.channel(args),
        ),
    )


def find(files: list[str]) -> tuple[Recording, ...]:
    """Recordings for the FILE arguments: folders searched, standard input (-) read to its end, which comes first."""
    paths = [Path(file) for file in files if file != STDIN]
    found = [Recording(str(path)) for path in expand(paths)]
    if STDIN in files:
        found.insert(0, Recording(STDIN, sys.stdin.buffer.read()))
    return tuple(found)


def _check_many(args: argparse.Namespace, count: int) -> None:
    for option in ("transcript", "transcript_file", "call_id"):
        if getattr(args, option):
            name = option.replace("_", "-")
            raise UsageError(f"--{name} goes with one recording; there are {count} (see --sidecar-transcripts)")


def _shared_transcript(args: argparse.Namespace) -> str:
    if args.transcript_file is not None:
        return read_transcript(args.transcript_file)
    return args.transcript or ""


def connect(args: argparse.Namespace) -> AsyncTriageClient:
    """A client with a connection of its own; raises OSError for root certificates that cannot be read."""
    return AsyncTriageClient(
        args.address,
        deadline_s=args.timeout,
        wait_for_ready=args.wait_for_ready,
        root_certificates=args.tls_roots.read_bytes() if args.tls_roots else None,
        own_connection=True,
    )
