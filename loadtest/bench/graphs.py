"""Which graph is measured by which provider: configurations for the workers and model repositories for Triton."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict

from loadtest.circumstances import ROOT
from preprocess_service.contract import MODEL_FILE, newest_version, read_contract
from preprocess_service.model_spec import MULTIMODAL, ModelSpec
from training.triton_config import PROFILE_PATHS, model_config

Precision = Literal["fp32", "int8"]  # what is compared
REPOSITORY: Final = ROOT / "model_repository"


class NoGraph(Exception):
    """The model was not trained, or has no graph of that precision that may be served."""


@dataclass(frozen=True)
class Served:
    """A version of a model as Triton serves it here: `spec` carries the profile."""

    spec: ModelSpec
    folder: Path
    precision: str

    @property
    def graph_file(self) -> Path:
        return self.folder / self.spec.cpu.graph_file

    @property
    def config(self) -> dict[str, Any]:
        """As Triton hands it to its backend."""
        return dict(MessageToDict(model_config(self.spec, "cpu"), preserving_proto_field_name=True))

    def check(self, precision: Precision) -> None:
        """Raises NoGraph where this is not of that precision."""
        if self.precision != precision:
            name = f"{self.spec.name} version {self.folder.name}"
            raise NoGraph(f"{name} is served in {self.precision}: {precision} has not passed its gate")

    def write_repository(self, folder: Path) -> Path:
        """A repository that holds nothing else; the version's files are links."""
        shutil.rmtree(folder, ignore_errors=True)
        config_file = folder / self.spec.name / PROFILE_PATHS["cpu"]
        config_file.parent.mkdir(parents=True)
        config_file.write_text(text_format.MessageToString(model_config(self.spec, "cpu")), encoding="utf-8")
        shutil.copy2(REPOSITORY / self.spec.name / PROFILE_PATHS["gpu"], folder / self.spec.name)
        version = folder / self.spec.name / self.folder.name
        version.mkdir()
        for file in self.folder.iterdir():
            (version / file.name).symlink_to(file)
        return folder


def plain(spec: ModelSpec) -> ModelSpec:
    """The exported graph by ONNX Runtime's CPU provider, everything else as the profile has it."""
    return replace(spec, cpu=replace(spec.cpu, graph_file=MODEL_FILE, accelerator=None, accelerator_parameters=()))


def newest_folder(spec: ModelSpec, repository: Path = REPOSITORY) -> Path:
    """Raises NoGraph where the model was not trained."""
    version = newest_version(repository, spec)
    if version is None:
        raise NoGraph(f"{repository} holds no version of {spec.name}: make models")
    return repository / spec.name / str(version)


def served(precision: Precision, spec: ModelSpec = MULTIMODAL, repository: Path = REPOSITORY) -> Served:
    """fp32: the exported graph by the CPU provider; int8: what the CPU profile serves, as it serves it.

    The latter is in int8 only where that has passed its gate: see its `precision`. Raises NoGraph where there is none.
    """
    folder = newest_folder(spec, repository)
    if precision == "fp32":
        return Served(plain(spec), folder, precision)
    return Served(spec, folder, read_contract(folder, spec).graphs[spec.cpu.graph_file].precision)
