"""The log of a step as its container wrote it, without what Kubeflow's launcher and Argo say around it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_OTHERS = re.compile(
    r"time=\S+ level=(INFO|DEBUG) .*"  # Argo's
    r"|[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ .*"  # klog's, of Kubeflow's launcher; F is why it ended
    r"|F\d{4} .*failed to execute component: exit status \d+"  # which the step's own words say better
    r"|\[KFP Executor [^\]]*(INFO|DEBUG)\]: .*"
    r"|Error: exit status \d+"
)
_INPUTS = re.compile(r"\[KFP Executor .*Got executor_input:")  # then an object of many lines


def own_lines(lines: Iterable[str]) -> Iterator[str]:
    """The lines that the step wrote itself, and those of the others that say why it did not begin."""
    in_inputs = False
    for line in lines:
        if _INPUTS.match(line):
            in_inputs = True
        elif in_inputs and line[:1] in ("{", " ", "}"):
            in_inputs = line != "}"
        elif not _OTHERS.fullmatch(line):
            yield line
