"""Several imported corpora as one: their clips over a common audio root."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from training.importers.findings import Findings, ImportFailed
from training.manifest import LABELS, MANIFEST_NAME, Clip, ManifestError, read_manifest
from training.recording_files import audio_root


def read(folders: Sequence[Path], findings: Findings) -> tuple[Path, list[Clip]]:
    """The nearest folder above every corpus' audio, and all clips with paths from there.

    Raises ImportFailed where two corpora have a clip of the same id or all clips are of one class, and ManifestError
    or OSError as `read_manifest` does.
    """
    roots = [audio_root(folder).resolve() for folder in folders]
    common = Path(os.path.commonpath(roots))
    clips: list[Clip] = []
    folder_of: dict[str, Path] = {}
    for folder, root in zip(folders, roots, strict=True):
        for clip in read_manifest(folder / MANIFEST_NAME):
            first = folder_of.setdefault(clip.clip_id, folder)
            if first is not folder:
                raise ImportFailed(f"clip {clip.clip_id} is in {first} and in {folder}; ids are unique")
            path = PurePosixPath(root.relative_to(common).as_posix(), clip.path)
            clips.append(_moved(clip, folder, str(path)))
            findings.files[f"clips in {folder.name}"] += 1
    for label in LABELS:
        if not any(clip.label == label for clip in clips):
            raise ManifestError(
                f"no {label} clip in {', '.join(map(str, folders))}; a merged corpus needs both classes"
            )
    return common, clips


def _moved(clip: Clip, folder: Path, path: str) -> Clip:
    """The clip with its new path; groups carry the corpus' name, since two corpora count theirs alike."""
    source = clip.source or folder.name

    def named(group: str) -> str:
        return group if not group or group.startswith(f"{source}-") else f"{source}-{group}"

    return replace(
        clip,
        path=path,
        source=source,
        source_clip=named(clip.source_clip),
        speaker_group=named(clip.speaker_group),
        background_group=named(clip.background_group),
        template_group=named(clip.template_group),
    )
