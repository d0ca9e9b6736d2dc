"""What a step's container logs under Kubeflow Pipelines 2.17, and what of it is the step's."""

from __future__ import annotations

from pipelines.cluster.step_logs import own_lines

BEFORE = """\
time=2026-11-25T21:49:26.356Z level=INFO msg="capturing logs" argo=true
I1125 21:49:26.505243      15 main.go:139] Setting log level to: '1'
[KFP Executor 2026-11-25 21:49:26,934 INFO]: Looking for component `sft` in --component_module_path `/tmp/x.py`
[KFP Executor 2026-11-25 21:49:26,966 INFO]: Got executor_input:
{
    "inputs": {
        "parameterValues": {
            "name": "sft"
        }
    }
}
"""
AFTER = """\
E1125 21:51:41.418160      15 launcher_v2.go:449] Component failed to execute successfully: exit status 2
I1125 21:51:41.431245      15 launcher_v2.go:206] publish success.
F1125 21:51:41.463669      15 main.go:130] failed to execute component: exit status 2
time=2026-11-25T21:51:41.920Z level=INFO msg="sub-process exited" argo=true error="exit status 1"
Error: exit status 1
"""
OWN = [
    "training sft: 12/64, 0.41/s, 127 s left",
    "{ a judge's words }",
    "error in sft/sft: batch_size 64 does not divide into 64 on 2 devices. Make it a multiple of 128.",
]


def test_only_what_the_step_wrote_is_shown() -> None:
    log = [*BEFORE.splitlines(), *OWN, *AFTER.splitlines()]
    assert list(own_lines(log)) == OWN


def test_why_a_step_never_began_is_shown() -> None:
    """Then nobody but the launcher can say it."""
    why = "F1125 21:51:41.463669      15 main.go:130] failed to execute component: failed to download input artifact"
    assert list(own_lines([*BEFORE.splitlines(), why])) == [why]
    refused = 'time=2026-11-25T21:51:41.920Z level=ERROR msg="cannot save parameter" argo=true'
    assert list(own_lines([refused])) == [refused]
