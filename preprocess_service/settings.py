"""What differs from one place to another: read once from the environment, typed, frozen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, FilePath, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from preprocess_service.model_spec import MODELS, MULTIMODAL, VGG16
from preprocess_service.threads import usable_cores

PREFIX: Final = "WIGEUP_"
OTHERS: Final = frozenset(
    {"WIGEUP_ADDRESS", "WIGEUP_PUBLISH", "WIGEUP_TRITON_PROFILE", "WIGEUP_ENGINES"}
)  # of the client and of docker-compose.yml
TOTALS: Final = ("feature_threads", "max_in_flight", "max_waiting", "max_live_calls", "live_workers")
_ROOT: Final = Path(__file__).resolve().parent.parent


def fitting_workers(cores: int) -> int:
    """Half as many as cores, since Triton needs as much of them for live calls as the service.

    Measured on two cores: one worker held 386 live calls, two held 351, whose batches are smaller, and took twice the
    memory. At 224 unary calls a second p99 was 48 ms with one; 112 with two, which leave inference no core.
    """
    return max(1, cores // 2)


class Settings(BaseSettings):
    """Every setting is an environment variable: the prefix WIGEUP_ and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=())

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 opens the service to the network")
    port: int = Field(50051, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    tls_certificate: FilePath | None = Field(None, description="PEM chain; with tls_key the port speaks TLS only")
    tls_key: FilePath | None = Field(None, description="PEM key of tls_certificate")

    triton_address: str = Field("127.0.0.1:8001", description="Triton's gRPC endpoint")
    triton_timeout_s: float = Field(5.0, gt=0, description="longest wait for one answer of Triton")
    model_repository: Path = Field(_ROOT / "model_repository", description="the folder that Triton serves")
    default_model: str = Field(MULTIMODAL.name, description="the model of requests that name none; always loaded")
    loaded_models: Annotated[tuple[str, ...], NoDecode] = Field(
        (MULTIMODAL.name, VGG16.name),
        description="names with commas between: loaded at the start and kept so, as far as the repository holds them",
    )
    load_on_demand: bool = Field(True, description="whether the first request for any other model has Triton load it")
    max_on_demand: int = Field(5, ge=1, description="models that stay loaded so; the least recently used gives way")
    min_stay_s: float = Field(
        60.0, ge=0, description="time for which none of them gives way; others are refused meanwhile if all are so new"
    )
    load_timeout_s: float = Field(120.0, gt=0, description="longest wait for Triton to load a model")

    front_end: Literal["service", "triton"] = Field(
        "service", description="where features are computed; triton: beside the model, for models that have an ensemble"
    )

    max_audio_s: float = Field(1800.0, gt=0, description="longest recording of one request")
    max_audio_bytes: int = Field(32 * 2**20, gt=0, description="largest recording of one request")
    max_transcript_chars: int = Field(10_000, gt=0, description="longest transcript of one request")
    deadline_s: float = Field(60.0, gt=0, description="time for requests that set no deadline")

    workers: int = Field(
        default_factory=lambda: fitting_workers(usable_cores()), ge=1, le=256, description="processes that take calls"
    )
    # Totals of the service: each worker has its share of them, rounded up (`of_one_worker`). Connections, not requests,
    # are spread over workers, so a worker may be full while another has room.
    feature_threads: int = Field(
        default_factory=usable_cores, ge=1, description="threads that compute features of what is long"
    )
    max_in_flight: int = Field(32, ge=1, description="requests worked on at once; a long one counts once a minute")
    max_waiting: int = Field(
        128, ge=0, description="requests that may wait for that, counted alike; urgent: as many again"
    )

    max_live_calls: int = Field(1000, ge=0, description="live calls at once, a total; as many again may be urgent")
    live_batch: int = Field(8, ge=1, description="live calls judged together, where so many are due")
    live_gather_s: float = Field(
        0.05, ge=0, description="longest that a call which is due waits for others, where calls come so close together"
    )
    live_workers: int = Field(3, ge=1, description="such batches under way at once; a total, too")
    live_deadline_s: float = Field(2.0, gt=0, description="longest wait for one window's answer; then: not monitored")
    live_longest_lag_s: float = Field(
        2.0,
        gt=0,
        description="a hop that has waited longer is skipped for a later one; new calls are refused from half",
    )
    live_idle_s: float = Field(30.0, gt=0, description="a live call from which nothing comes for so long is ended")

    canary_interval_s: float = Field(2.0, gt=0, description="time between two readiness checks")
    shutdown_grace_s: float = Field(10.0, ge=0, description="time for requests under way to end after SIGTERM")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def of_one_worker(self) -> Settings:
        """With its share of the totals. On-demand loading is not shared out: the workers know of each other's."""
        share = {name: -(-getattr(self, name) // self.workers) for name in TOTALS}
        return self.model_copy(update=share)

    @field_validator("loaded_models", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = tuple(filter(None, (name.strip() for name in value.split(","))))
        unknown = [name for name in names if name not in MODELS]
        if unknown:
            raise ValueError(f"model {unknown[0]!r} is unknown; there are {', '.join(MODELS)}")
        return names

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self


def read_settings() -> Settings:
    """Reads the environment; raises ValueError naming a variable that is unknown or holds a bad value."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known | OTHERS)
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return Settings()
