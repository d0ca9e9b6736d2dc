"""What a recipe asks of a cluster: a pod's resources and place, and the names of the objects that pods refer to."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from components.core.settings import Settings

_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"  # as Kubernetes names objects
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$"


class PodSettings(Settings):
    """One pod; nothing is asked where a value is 0, empty or absent."""

    gpus: int = Field(0, ge=0)
    gpu_type: str = Field("nvidia.com/gpu", description="the resource's name")
    gpu_memory: str | None = Field(
        None, pattern=_QUANTITY, description="that one GPU has, 80Gi for example: a recipe that needs more is refused"
    )
    cpu: str | None = Field(None, pattern=_QUANTITY, description="as Kubernetes writes it: 4, 500m")
    memory: str | None = Field(None, pattern=_QUANTITY, description="request and limit, as Kubernetes writes it: 200Gi")
    disk: str | None = Field(
        None,
        pattern=_QUANTITY,
        description="request of a node's disk (ephemeral storage), for checkpoints and model files; in the pods of "
        "servers and of several nodes: those of steps cannot ask for it",
    )
    shared_memory: str | None = Field(None, pattern=_QUANTITY, description="size of /dev/shm, where GPUs meet")
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[dict[str, Any]] = Field(default_factory=list, description="as a pod's spec has them")

    @field_validator("cpu", "memory", "disk", "shared_memory", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """YAML reads `cpu: 4` as a number."""
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class TrainingPods(PodSettings):
    """The pods of SFT and DPO; everything but `nodes` is for each of them."""

    nodes: int = Field(1, ge=1, description="more than one become a TrainJob of Kubeflow Trainer")
    schedule_timeout: int = Field(600, ge=1, description="seconds that a TrainJob's pods may find no node")


class ClusterSettings(Settings):
    """Names of objects in the namespace of the runs. The chart's names are the defaults."""

    service_account: str = Field("srlm", pattern=_NAME)
    config_map: str = Field("srlm", pattern=_NAME, description="environment: store, registry, images")
    secret: str = Field("srlm", pattern=_NAME, description="environment: AWS_*, HF_TOKEN, SRLM_*_API_KEY")
    image_pull_secrets: list[str] = Field(default_factory=list)
    model_cache: str | None = Field(None, pattern=_NAME, description="claim that servers share weights on; null: none")
    queue: str | None = Field(None, pattern=_NAME, description="Kueue's local queue for pods that take GPUs")
    training_runtime: str = Field("srlm-torch", pattern=_NAME, description="of Kubeflow Trainer, for several nodes")
