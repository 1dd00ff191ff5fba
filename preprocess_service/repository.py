"""The model repository on disk: which versions there are, and their contracts, each read and checked once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from preprocess_service.contract import (
    CANDIDATE_MARKER,
    Contract,
    ContractMismatch,
    Graph,
    newest_version,
    read_contract,
    version_numbers,
)
from preprocess_service.contract import FILE_NAME as CONTRACT_FILE
from preprocess_service.model_spec import MODELS, ModelSpec

Signature = tuple[int, int]  # version, and when its contract was written (ns): a version can be written anew


@dataclass(frozen=True)
class ServedModel:
    """One version of one model; `graph_file` and `max_batch_size` are empty until Triton was asked."""

    spec: ModelSpec
    contract: Contract
    signature: Signature
    graph_file: str = ""
    max_batch_size: int = 0

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def version(self) -> int:
        return self.contract.version

    @property
    def graph(self) -> Graph | None:
        """What the contract says of the file that Triton serves; None where it says nothing or Triton was not asked."""
        return self.contract.graphs.get(self.graph_file)


class Repository:
    """The folder that Triton serves, read only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[tuple[str, Signature], ServedModel | ContractMismatch] = {}

    def versions(self, name: str) -> list[int]:
        """All version folders of the model, candidates included, in order."""
        return version_numbers(self.folder, MODELS[name])

    def newest(self, name: str) -> Signature | None:
        """The highest version of the model that is no candidate."""
        version = newest_version(self.folder, MODELS[name])
        return None if version is None else self.signature(name, version)

    def is_candidate(self, name: str, version: int) -> bool:
        return (self.folder / name / str(version) / CANDIDATE_MARKER).exists()

    def signature(self, name: str, version: int) -> Signature:
        """The version as it is now; one without a contract has the time 0."""
        with contextlib.suppress(FileNotFoundError):
            return version, (self.folder / name / str(version) / CONTRACT_FILE).stat().st_mtime_ns
        return version, 0

    def read(self, name: str, signature: Signature) -> ServedModel:
        """Blocks while files are hashed, the first time; raises ContractMismatch, every time."""
        key = (name, signature)
        if key not in self._read:
            spec, version = MODELS[name], signature[0]
            try:
                contract = read_contract(self.folder / name / str(version), spec)
                self._read[key] = ServedModel(spec, contract, signature)
            except ContractMismatch as error:
                self._read[key] = error
        found = self._read[key]
        if isinstance(found, ContractMismatch):
            raise ContractMismatch(found.reason, found.path)
        return found
