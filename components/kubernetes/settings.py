"""What a recipe asks of a cluster: a pod's resources and place, and the names of the objects that pods refer to."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from components.core.settings import Settings
from components.kubernetes.client import PATIENCE_S
from components.kubernetes.shape import Kind, PodShape

_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"  # as Kubernetes names objects
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|[MGTPE]i?)?$"
GIB = 2**30
SLACK = 1.1  # of a disk for models: files are rounded up to blocks, and a file system keeps some of its own
BESIDE_MODELS_GIB = 4  # logs, compilers' caches, records
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
AUTHORITIES = "/etc/srlm/authorities"  # the folder of the bundle in pods
OF_AUTHORITIES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")  # boto3's; MLflow's; the models' client's
# Go's programs (Kubeflow's launcher in each step) read it, too; the API server is known by its address alone.
PAST_PROXIES = "localhost,127.0.0.1,.svc,.cluster.local,.kubeflow,$(KUBERNETES_SERVICE_HOST)"
_OURS = re.compile(
    r"(HOME|USER|TMPDIR|NAMESPACE|HF_HUB_OFFLINE|HF_TOKEN|AWS_(ENDPOINT_URL_S3|REGION|ACCESS_KEY_ID|SECRET_ACCESS_KEY|"
    r"SESSION_TOKEN)|(SRLM|KFP|KF_PIPELINES|KUBERNETES)_.*)$"
)
NOT_FOR_STEPS = (
    "Kubeflow Pipelines takes none of it for a step; give it to all of Argo's pods (podSpecPatch of its "
    "workflowDefaults), or run with --runner job, whose pods are of the kind job"
)
_SECRET = re.compile("(^|_)(SECRET|TOKEN|PASSWORD|KEY)$")
_UNITS = {"m": 1e-3, "k": 1e3, "Ki": 1024.0} | {
    unit + i: (1024.0 if i else 1e3) ** power for power, unit in enumerate("MGTPE", 2) for i in ("", "i")
}


def number(quantity: str) -> float:
    """Kubernetes' quantity ("80Gi", "500m") as bytes or cores."""
    digits = quantity.rstrip("mkKMGTPEi")
    return float(digits) * _UNITS.get(quantity.removeprefix(digits), 1.0)


def as_text(value: Any) -> Any:
    """YAML reads `cpu: 4` as a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class StepPods(Settings):
    """What one pod asks for, and may take. A quota or a LimitRange of the namespace refuses pods that do not say all
    six, so each has a default for its kind of pod; "0" asks for nothing, or sets no limit (issues 13, 14).

    A limit that is not given is the request, where that is given: more memory than asked for would be another's.
    """

    defaults: ClassVar[dict[str, str]] = {
        **{"cpu": "100m", "cpu_limit": "2", "memory": "512Mi", "memory_limit": "4Gi"},
        **{"disk": "1Gi", "disk_limit": "4Gi"},
    }

    cpu: str | None = Field(None, pattern=_QUANTITY, description="request, as Kubernetes writes it: 4, 500m")
    cpu_limit: str | None = Field(None, pattern=_QUANTITY, description="default: cpu, where it is given")
    memory: str | None = Field(None, pattern=_QUANTITY, description="request, as Kubernetes writes it: 200Gi")
    memory_limit: str | None = Field(None, pattern=_QUANTITY, description="default: memory, where it is given")
    disk: str | None = Field(None, pattern=_QUANTITY, description="request of a node's disk (ephemeral storage): 50Gi")
    disk_limit: str | None = Field(
        None, pattern=_QUANTITY, description="default: disk, where it is given; also the size of a scratch volume"
    )

    @field_validator("cpu", "cpu_limit", "memory", "memory_limit", "disk", "disk_limit", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return as_text(value)

    def amount(self, name: str) -> str:
        """A request ("cpu", "memory", "disk") or a limit ("cpu_limit", ...); "" where there is none."""
        given = getattr(self, name) or getattr(self, name.removesuffix("_limit")) or self.defaults[name]
        return given if number(given) else ""

    def requests(self) -> dict[str, str]:
        """As a container's `resources` name them."""
        return self._named("")

    def limits(self) -> dict[str, str]:
        """As a container's `resources` name them."""
        return self._named("_limit")

    def _named(self, suffix: str) -> dict[str, str]:
        named = {"cpu": "cpu", "memory": "memory", "ephemeral-storage": "disk"}
        amounts = {resource: self.amount(f"{name}{suffix}") for resource, name in named.items()}
        return {resource: amount for resource, amount in amounts.items() if amount}

    def holding(self, size: float) -> Self:
        """With a disk for so many bytes of models, where the recipe does not say how much; 0: nobody knows."""
        if not size or self.disk or self.disk_limit:
            return self
        return self.model_copy(update={"disk": f"{math.ceil(size * SLACK / GIB) + BESIDE_MODELS_GIB}Gi"})

    @model_validator(mode="after")
    def _no_more_than_its_limit(self) -> Self:
        for name in ("cpu", "memory", "disk"):
            asked, limit = self.amount(name), self.amount(f"{name}_limit")
            if asked and limit and number(asked) > number(limit):
                raise ValueError(f"{name}_limit {limit} is less than {name} {asked}: set both")
        return self


class PodSettings(StepPods):
    """One pod that may take GPUs; nothing is asked where a value is 0 or empty."""

    # On a laptop's cluster what is asked must fit beside all else; what a GPU's model may take is not ours to know. The
    # disk's are for models of unknown size (`holding` is for the others).
    defaults: ClassVar[dict[str, str]] = {
        **{"cpu": "500m", "cpu_limit": "4", "memory": "2Gi", "memory_limit": "16Gi"},
        **{"disk": "5Gi", "disk_limit": "40Gi"},
    }
    # With them a quarter of what it may take, as in the chart's judge: a namespace's maxLimitRequestRatio admits that,
    # and where a node runs out of memory the pods beyond their requests go first. Nodes have 4 to 24 cores and 16 to
    # 250 GiB for each GPU.
    of_gpu: ClassVar[dict[str, tuple[int, str]]] = {
        "cpu": (2, ""),
        "cpu_limit": (8, ""),
        "memory": (16, "Gi"),
        "memory_limit": (64, "Gi"),
        "disk": (50, "Gi"),
        "disk_limit": (200, "Gi"),
    }

    gpus: int = Field(0, ge=0, description="of each pod")
    gpu_type: str = Field("nvidia.com/gpu", description="the resource's name")
    gpu_memory: str | None = Field(
        None, pattern=_QUANTITY, description="that one GPU has, 80Gi for example: a recipe that needs more is refused"
    )
    shared_memory: str | None = Field(None, pattern=_QUANTITY, description="size of /dev/shm, where GPUs meet")
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels of the nodes that it may go to")
    tolerations: list[dict[str, Any]] = Field(default_factory=list, description="as a pod's spec has them")

    @field_validator("shared_memory", mode="before")
    @classmethod
    def _as_text_too(cls, value: Any) -> Any:
        return as_text(value)

    def requests(self) -> dict[str, str]:
        """GPUs are request and limit."""
        return super().requests() | self._devices()

    def limits(self) -> dict[str, str]:
        """GPUs are request and limit."""
        return super().limits() | self._devices()

    def _devices(self) -> dict[str, str]:
        return {self.gpu_type: str(self.gpus)} if self.gpus else {}

    def amount(self, name: str) -> str:
        """The defaults grow with the GPUs; a request stays within a limit that is given."""
        given = getattr(self, name) or getattr(self, name.removesuffix("_limit"))
        if given or not self.gpus:
            return super().amount(name)
        of_one, unit = self.of_gpu[name]
        amount, limit = f"{of_one * self.gpus}{unit}", getattr(self, f"{name}_limit", None)
        return limit if limit and 0 < number(limit) < number(amount) else amount


class ImporterPods(StepPods):
    """The pod that brings models into the store; its disk is by default the trainers'."""

    defaults: ClassVar[dict[str, str]] = PodSettings.defaults


class ScratchVolume(Settings):
    """A claim in place of the node's disk for what importers, trainers and servers keep: models, checkpoints, caches.

    Without a name each pod gets one of its own (a generic ephemeral volume) of the size `disk_limit`.
    """

    claim: str | None = Field(None, pattern=_NAME, description="one that is there and that all share (ReadWriteMany)")
    storage_class: str | None = Field(None, pattern=_NAME, description="of a pod's own; default: the cluster's default")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.claim and self.storage_class:
            raise ValueError("claim is there already and storage_class is of claims that are made: name one of them")
        return self


class TrainingPods(PodSettings):
    """The pods of SFT and DPO; everything but `nodes` is for each of them."""

    nodes: int = Field(1, ge=1, description="more than one become a TrainJob of Kubeflow Trainer")
    schedule_timeout: int = Field(600, ge=1, description="seconds that a TrainJob's pods may find no node")


class CertificateBundle(Settings):
    """A config map with a file of certificate authorities, in place of those that images bring."""

    config_map: str = Field(pattern=_NAME, description="that holds the certificates")
    file: str = Field(
        "ca.crt", pattern=r"^[-._a-zA-Z0-9]+$", description="its key; the public ones belong into it, too"
    )

    @property
    def path(self) -> str:
        """Where pods find it."""
        return f"{AUTHORITIES}/{self.file}"


class EnvironmentSettings(Settings):
    """What all pods of a run find in their environment beside what the chart's config map and secret hold (issue 13).

    Variables are named one by one: Kubeflow Pipelines knows no other way. The model's own server gets no secret.
    """

    config_maps: dict[Annotated[str, Field(pattern=_NAME)], list[Variable]] = Field(
        default_factory=dict, description="the variables that are taken from each config map"
    )
    secrets: dict[Annotated[str, Field(pattern=_NAME)], list[Variable]] = Field(
        default_factory=dict, description="the variables that are taken from each secret"
    )
    variables: dict[Variable, str] = Field(default_factory=dict, description="with their values; nothing secret")
    ca_bundle: CertificateBundle | None = None

    @field_validator("variables", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return {name: as_text(one) for name, one in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _each_once_and_none_secret(self) -> EnvironmentSettings:
        named = [*self.named, *(OF_AUTHORITIES if self.ca_bundle else ())]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} stands twice in it (ca_bundle sets {', '.join(OF_AUTHORITIES)})")
        if ours := sorted({name for name in named if _OURS.match(name)}):
            raise ValueError(
                f"{', '.join(ours)} would take the place of what a run sets itself; keys and the store's address "
                "belong into cluster.secret and cluster.config_map"
            )
        for name, value in self.variables.items():
            if _SECRET.search(name) or re.search(r"://[^/@\s]*:[^/@\s]*@", value):
                raise ValueError(f"{name} holds a secret, which everybody who sees the run could read: name a secret")
        return self

    @property
    def named(self) -> list[str]:
        """The variables that the recipe names, wherever their values are."""
        referred = [name for names in (*self.config_maps.values(), *self.secrets.values()) for name in names]
        return [*referred, *self.variables]

    @property
    def plain(self) -> dict[str, str]:
        """Variables with their values. A proxy without a NO_PROXY gets one, for what lies in the cluster."""
        proxied = any(name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in self.named)
        past = {} if not proxied or {"NO_PROXY", "no_proxy"} & set(self.named) else {"NO_PROXY": PAST_PROXIES}
        authorities = dict.fromkeys(OF_AUTHORITIES, self.ca_bundle.path) if self.ca_bundle else {}
        return {**past, **self.variables, **authorities}


class ClusterSettings(Settings):
    """Names of objects in the namespace of the runs. The chart's names are the defaults."""

    service_account: str = Field("srlm", pattern=_NAME, description="of the runs' pods")
    config_map: str = Field("srlm", pattern=_NAME, description="environment: store, registry, images")
    secret: str = Field("srlm", pattern=_NAME, description="environment: AWS_*, HF_TOKEN, SRLM_*_API_KEY")
    image_pull_secrets: list[str] = Field(default_factory=list, description="Secrets of a registry with a login")
    model_cache: str | None = Field(None, pattern=_NAME, description="claim that servers share weights on; null: none")
    queue: str | None = Field(None, pattern=_NAME, description="Kueue's local queue of what trains, serves or is a run")
    training_runtime: str = Field("srlm-torch", pattern=_NAME, description="of Kubeflow Trainer, for several nodes")
    steps: StepPods = Field(default_factory=StepPods, description="pods of steps that do not train, and their like")
    importer: ImporterPods = Field(
        default_factory=ImporterPods,
        exclude_if=lambda pods: pods == ImporterPods(),
        description="the pod that imports models",
    )
    scratch: ScratchVolume | None = Field(
        None, description="claim for models, checkpoints and caches of a pod; null: the node's disk"
    )
    environment: EnvironmentSettings = Field(default_factory=EnvironmentSettings)
    gpu_hour_price: float | None = Field(None, ge=0, description="of one GPU; null: plans say no price")
    patience: float = Field(PATIENCE_S, ge=0, description="seconds that the API server may be away while a run asks it")
    pods: dict[Kind, PodShape] = Field(
        default_factory=dict,
        exclude_if=lambda pods: not pods,
        description="what pods of a kind (step, importer, trainer, server, job) have beside all that",
    )

    @model_validator(mode="after")
    def _pods_can_be_had(self) -> Self:
        for kind, shape in self.pods.items():
            beyond = list(shape.beyond_steps()) if kind in ("step", "importer") else []
            if beyond:
                raise ValueError(f"pods.{kind}: {'; '.join(beyond)}: {NOT_FOR_STEPS}")
            names = [str(one.get("name")) for one in shape.container.get("env") or ()]
            if ours := [name for name in names if _OURS.match(name) or name in self.environment.named]:
                raise ValueError(f"pods.{kind}: container.env.{ours[0]} is set by the run itself, or by `environment`")
        return self
