"""The engine's counters, and their text for Prometheus: TGI's names where TGI has them.

Written here because `prometheus_client` appends `_total` to a counter's name: dashboards made for TGI would stay empty.
They lie at the bottom of the engine, because the forward passes count themselves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Metrics:
    """All numbers that the engine publishes. Each is written by one thread."""

    request_count: int = 0
    request_success: int = 0
    request_failures: Counter[str] = field(default_factory=Counter)  # by type of error
    queue_size: int = 0
    batch_current_size: int = 0
    input_tokens: int = 0  # of answered requests
    generated_tokens: int = 0  # of answered requests
    forward_passes: int = 0
    prefill_tokens: int = 0
    prefix_cache_hits: int = 0
    reused_tokens: int = 0

    def render(self) -> str:
        """Everything, in Prometheus' text format 0.0.4."""
        failures = {f'{{err="{error_type}"}}': count for error_type, count in self.request_failures.items()}
        answered = self.request_success
        inputs = {"_sum": self.input_tokens, "_count": answered}
        outputs = {"_sum": self.generated_tokens, "_count": answered}
        lines: list[str] = []
        for name, kind, text, values in (
            ("tgi_request_count", "counter", "Requests received.", {"": self.request_count}),
            ("tgi_request_success", "counter", "Requests answered.", {"": answered}),
            ("tgi_request_failure", "counter", "Requests refused or failed.", failures),
            ("tgi_queue_size", "gauge", "Requests that wait for a place in the batch.", {"": self.queue_size}),
            ("tgi_batch_current_size", "gauge", "Requests being decoded.", {"": self.batch_current_size}),
            ("tgi_request_input_length", "summary", "Prompt tokens of answered requests.", inputs),
            ("tgi_request_generated_tokens", "summary", "Generated tokens of answered requests.", outputs),
            ("embedded_forward_passes", "counter", "Forward passes of the model.", {"": self.forward_passes}),
            ("embedded_prefill_tokens", "counter", "Prompt tokens read by the model.", {"": self.prefill_tokens}),
            (
                "embedded_prefix_cache_hits",
                "counter",
                "Reads that began from a known prefix.",
                {"": self.prefix_cache_hits},
            ),
            (
                "embedded_prefix_reused_tokens",
                "counter",
                "Tokens of known prefixes not read again.",
                {"": self.reused_tokens},
            ),
        ):
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{suffix} {value}" for suffix, value in values.items()]
        return "\n".join(lines) + "\n"
