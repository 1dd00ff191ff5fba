"""The models that the service can ask: the newest version on disk, its contract checked, its answers proven."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from preprocess_service.admission import Priority
from preprocess_service.contract import FILE_NAME as CONTRACT_FILE
from preprocess_service.contract import Contract, ContractMismatch, canary_inputs, newest_version, read_contract
from preprocess_service.deadline import Deadline
from preprocess_service.errors import ModelNotFound, TriageError, TritonUnavailable
from preprocess_service.model_spec import MODELS, ModelSpec, TensorSpec
from preprocess_service.triton import TritonClient

logger = logging.getLogger(__name__)

LONGEST_MODEL_NAME: Final = 64

Signature = tuple[int, int]  # version, and when its contract was written (ns): a version can be written anew


class WrongAnswer(TritonUnavailable):
    """Triton answers, but not what the contract says: its weights are other ones, or it is broken."""


@dataclass(frozen=True)
class ServedModel:
    """One version of one model; `max_batch_size` is 0 until Triton was asked."""

    spec: ModelSpec
    contract: Contract
    signature: Signature
    max_batch_size: int = 0

    @property
    def version(self) -> int:
        return self.contract.version


class Catalogue:
    """Reads contracts when made; `check` follows new versions and proves with a canary that Triton answers right."""

    def __init__(self, repository: Path, default: str, triton: TritonClient) -> None:
        """Raises ContractMismatch where a contract does not fit this code, or the default model is not there."""
        self._repository, self._triton = repository, triton
        self.default = default
        self._models: dict[str, ServedModel] = {}
        self._wrong: dict[str, str] = {}  # model to what is wrong with its answers
        self._refused: dict[str, tuple[Signature, str]] = {}  # model to the version that may not take over, and why
        for spec in MODELS.values():
            signature = self._newest(spec)
            if signature is not None:
                self._models[spec.name] = self._read(spec, signature)
        if default not in self._models:
            raise ContractMismatch(
                f"the default model is {default!r}; {repository} holds {', '.join(self._models) or 'no trained model'}"
            )

    @property
    def models(self) -> Mapping[str, ServedModel]:
        return self._models

    def model(self, name: str) -> ServedModel:
        """The model of that name, the default one for "".

        Raises ModelNotFound, and WrongAnswer while the model is known to answer wrongly: no verdict is better than a
        wrong one.
        """
        name = name or self.default
        if name not in self._models:
            shown = repr(name) if len(name) <= LONGEST_MODEL_NAME and name.isascii() else f"of {len(name)} characters"
            raise ModelNotFound(f"model {shown} is unknown; there are {', '.join(self._models)}")
        if name in self._wrong:
            raise WrongAnswer(self._wrong[name])
        return self._models[name]

    async def check(self, name: str, deadline: Deadline) -> None:
        """Asks Triton the canary; raises TritonUnavailable where it is silent or wrong.

        A newer version on disk takes over if it passes the same check; otherwise the one in service stays.
        """
        served = self._models[name]
        newest = self._newest(served.spec)
        if newest is not None and newest != served.signature:
            await self._take_over(served, newest, deadline)
            served = self._models[name]
        try:
            if not served.max_batch_size:
                served = self._models[name] = await self._verified(served, deadline)
            await self._ask_canary(served, deadline)
        except WrongAnswer as error:
            self._wrong[name] = str(error)
            raise
        self._wrong.pop(name, None)

    async def _take_over(self, served: ServedModel, newest: Signature, deadline: Deadline) -> None:
        spec = served.spec
        try:
            await self._triton.metadata(spec.name, newest[0], deadline)  # the cheap question first
            candidate = await asyncio.to_thread(self._read, spec, newest)
            candidate = await self._verified(candidate, deadline)
            await self._ask_canary(candidate, deadline)
        except (ContractMismatch, TriageError) as error:
            refusal = (newest, str(error))
            if self._refused.get(spec.name) != refusal:  # told once, tried again at every check
                self._refused[spec.name] = refusal
                logger.warning(
                    "version stays", extra={"model": spec.name, "version": served.version, "reason": refusal[1]}
                )
            return
        self._models[spec.name] = candidate
        logger.info("version changed", extra={"model": spec.name, "version": newest[0]})

    async def _verified(self, served: ServedModel, deadline: Deadline) -> ServedModel:
        spec, version = served.spec, served.version
        metadata = await self._triton.metadata(spec.name, version, deadline)
        for kind, tensors, specs in (
            ("inputs", metadata.inputs, spec.inputs),
            ("outputs", metadata.outputs, spec.outputs),
        ):
            found = {TensorSpec(each.name, each.datatype, tuple(each.shape[1:])) for each in tensors}
            if found != set(specs):
                raise WrongAnswer(f"Triton's {kind} of {spec.name}/{version} are {found}; the spec says {specs}")
        batch = await self._triton.max_batch_size(spec.name, version, deadline)
        return replace(served, max_batch_size=max(1, batch))

    async def _ask_canary(self, served: ServedModel, deadline: Deadline) -> None:
        spec, expected = served.spec, served.contract.canary
        inputs = canary_inputs(spec)
        (answer,) = await self._triton.infer(spec, served.version, inputs, Priority.URGENT, deadline)
        if not abs(float(answer) - expected.probability) <= expected.tolerance:
            raise WrongAnswer(
                f"Triton answers the canary of {spec.name}/{served.version} with {answer:.6f}; "
                f"{expected.probability:.6f} ± {expected.tolerance:g} is right"
            )

    def _newest(self, spec: ModelSpec) -> Signature | None:
        version = newest_version(self._repository, spec)
        if version is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            return version, (self._repository / spec.name / str(version) / CONTRACT_FILE).stat().st_mtime_ns
        return version, 0

    def _read(self, spec: ModelSpec, signature: Signature) -> ServedModel:
        contract = read_contract(self._repository / spec.name / str(signature[0]), spec)
        return ServedModel(spec, contract, signature)
