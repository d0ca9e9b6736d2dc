"""The container images of the steps: the only place that names them."""

from components.stage import code_version

WORKER = f"self-rewarding-pipelines/worker:{code_version()}"  # talks to servers: starts without torch
TRAINER = f"self-rewarding-pipelines/trainer:{code_version()}"  # torch and TRL
