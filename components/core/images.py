"""The container images: the only place that names them. images/ builds them."""

from components.core.hashing import code_version

PREFIX = "self-rewarding-pipelines"
WORKER = f"{PREFIX}/worker:{code_version()}"  # talks to servers: starts without torch
TRAINER = f"{PREFIX}/trainer:{code_version()}"  # torch and TRL; executes a whole run without Kubeflow
ENGINE = f"{PREFIX}/engine:{code_version()}"  # the embedded engine as a server of its own
SERVICES = f"{PREFIX}/services:{code_version()}"  # MLflow's server and SeaweedFS, for the chart
TGI = f"{PREFIX}/tgi:{code_version()}"  # Hugging Face's, made readable for users without rights
VLLM = "vllm/vllm-openai:v0.32.0"  # the version that `make test-engines` runs on CPUs
