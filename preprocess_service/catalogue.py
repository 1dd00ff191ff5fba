"""The models that the service can ask: the newest version on disk, its contract checked, its answers proven."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from preprocess_service.admission import Priority
from preprocess_service.contract import Contract, ContractMismatch, canary_inputs, newest_version, read_contract
from preprocess_service.deadline import Deadline
from preprocess_service.errors import ModelNotFound, TriageError, TritonUnavailable
from preprocess_service.model_spec import MODELS, ModelSpec, TensorSpec
from preprocess_service.triton import TritonClient

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """One version of one model; `max_batch_size` is 0 until Triton was asked."""

    spec: ModelSpec
    contract: Contract
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
        for spec in MODELS.values():
            version = newest_version(repository, spec)
            if version is not None:
                self._models[spec.name] = ServedModel(spec, self._read(spec, version))
        if default not in self._models:
            raise ContractMismatch(
                f"the default model is {default!r}; {repository} holds {', '.join(self._models) or 'no trained model'}"
            )

    @property
    def models(self) -> Mapping[str, ServedModel]:
        return self._models

    def model(self, name: str) -> ServedModel:
        """The model of that name, the default one for ""; raises ModelNotFound."""
        try:
            return self._models[name or self.default]
        except KeyError:
            raise ModelNotFound(f"model {name!r} is unknown; there are {', '.join(self._models)}") from None

    async def check(self, name: str, deadline: Deadline) -> None:
        """Asks Triton the canary; raises TritonUnavailable where it is silent or wrong.

        A newer version on disk takes over if it passes the same check; otherwise the one in service stays.
        """
        served = self._models[name]
        newest = newest_version(self._repository, served.spec)
        if newest is not None and newest != served.version:
            await self._take_over(served, newest, deadline)
            served = self._models[name]
        if not served.max_batch_size:
            served = self._models[name] = await self._verified(served, deadline)
        await self._ask_canary(served, deadline)

    async def _take_over(self, served: ServedModel, newest: int, deadline: Deadline) -> None:
        try:
            contract = await asyncio.to_thread(self._read, served.spec, newest)
            candidate = await self._verified(ServedModel(served.spec, contract), deadline)
            await self._ask_canary(candidate, deadline)
        except (ContractMismatch, TriageError) as error:
            logger.warning(
                "version stays", extra={"model": served.spec.name, "version": served.version, "reason": str(error)}
            )
            return
        self._models[served.spec.name] = candidate
        logger.info("version changed", extra={"model": served.spec.name, "version": newest})

    async def _verified(self, served: ServedModel, deadline: Deadline) -> ServedModel:
        spec, version = served.spec, served.version
        metadata = await self._triton.metadata(spec.name, version, deadline)
        for kind, tensors, specs in (
            ("inputs", metadata.inputs, spec.inputs),
            ("outputs", metadata.outputs, spec.outputs),
        ):
            found = {TensorSpec(each.name, each.datatype, tuple(each.shape[1:])) for each in tensors}
            if found != set(specs):
                raise TritonUnavailable(f"Triton's {kind} of {spec.name}/{version} are {found}; the spec says {specs}")
        batch = await self._triton.max_batch_size(spec.name, version, deadline)
        return replace(served, max_batch_size=max(1, batch))

    async def _ask_canary(self, served: ServedModel, deadline: Deadline) -> None:
        spec, expected = served.spec, served.contract.canary
        inputs = canary_inputs(spec)
        (answer,) = await self._triton.infer(spec, served.version, inputs, Priority.URGENT, deadline)
        if not abs(float(answer) - expected.probability) <= expected.tolerance:
            raise TritonUnavailable(
                f"Triton answers the canary of {spec.name}/{served.version} with {answer:.6f}; "
                f"{expected.probability:.6f} ± {expected.tolerance:g} is right"
            )

    def _read(self, spec: ModelSpec, version: int) -> Contract:
        return read_contract(self._repository / spec.name / str(version), spec)
