"""Recordings on disk: which files are audio, what their names say of their format, their transcripts."""

from collections.abc import Iterator
from pathlib import Path

from client.formats import AudioFormat, Encoding

# Files whose header says what they are.
HEADER_SUFFIXES = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"})
# Headerless files, by the encoding that their suffix stands for.
HEADERLESS_SUFFIXES = {
    ".ulaw": Encoding.MULAW,
    ".ul": Encoding.MULAW,
    ".mulaw": Encoding.MULAW,
    ".pcmu": Encoding.MULAW,
    ".alaw": Encoding.ALAW,
    ".al": Encoding.ALAW,
    ".pcma": Encoding.ALAW,
    ".pcm": Encoding.PCM16,
    ".raw": Encoding.PCM16,
}


def find_recordings(folder: Path) -> list[Path]:
    """Audio files below a folder, by suffix, sorted by path; hidden files are left out."""
    return sorted(path for path in folder.rglob("*") if _is_recording(path))


def _is_recording(path: Path) -> bool:
    suffix = path.suffix.lower()
    known = suffix in HEADER_SUFFIXES or suffix in HEADERLESS_SUFFIXES
    return known and not path.name.startswith(".") and path.is_file()


def format_of(path: Path, given: AudioFormat | None = None) -> AudioFormat:
    """The format of a file: that of its header, else the given one, else the one that its suffix stands for.

    Raises ValueError for a headerless file of which neither tells the sampling rate.
    """
    suffix = path.suffix.lower()
    if suffix in HEADER_SUFFIXES:
        return AudioFormat.file()
    if given is not None:
        return given
    match HEADERLESS_SUFFIXES.get(suffix):
        case Encoding.MULAW:
            return AudioFormat.mulaw()
        case Encoding.ALAW:
            return AudioFormat.alaw()
        case Encoding.PCM16:
            raise ValueError(f"{suffix} has no header: its encoding and sampling rate must be given")
        case _:
            return AudioFormat.file()


def sidecar_of(path: Path) -> Path:
    """Where the transcript of a recording lies: NAME.txt next to it."""
    return path.with_suffix(".txt")


def read_transcript(path: Path) -> str:
    """A transcript file's text in UTF-8, without the white space around it; raises OSError or ValueError."""
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def read_sidecar(path: Path) -> str:
    """The transcript next to a recording, empty where there is none."""
    sidecar = sidecar_of(path)
    return read_transcript(sidecar) if sidecar.is_file() else ""


def expand(paths: list[Path]) -> Iterator[Path]:
    """Folders replaced by the recordings in them; each file once; a path that does not exist stays."""
    seen: set[Path] = set()
    for path in paths:
        for file in find_recordings(path) if path.is_dir() else [path]:
            if file not in seen:
                seen.add(file)
                yield file
