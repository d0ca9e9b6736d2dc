"""Counters in Prometheus' text format, by TGI's names where TGI has them.

Written here because `prometheus_client` appends `_total` to a counter's name: dashboards made for TGI would stay empty.
"""

from __future__ import annotations


class Metric:
    """One counter or gauge, by label value if it has a label."""

    def __init__(self, name: str, kind: str, text: str, label: str = "") -> None:
        self.name, self.kind, self.text, self.label = name, kind, text, label
        self._values: dict[str, float] = {} if label else {"": 0.0}

    def add(self, amount: float, of: str = "") -> None:
        self._values[of] = self._values.get(of, 0.0) + amount

    def set(self, value: float) -> None:
        self._values[""] = value

    @property
    def value(self) -> float:
        """The sum over all labels."""
        return sum(self._values.values())

    def lines(self) -> list[str]:
        """The metric as Prometheus reads it."""
        head = [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} {self.kind}"]
        return head + [
            f'{self.name}{{{self.label}="{of}"}} {value:g}' if of else f"{self.name} {value:.17g}"
            for of, value in self._values.items()
        ]


class Summary:
    """A sum and a count, from which a mean follows."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.sum = 0.0
        self.count = 0

    def observe(self, value: float) -> None:
        self.sum += value
        self.count += 1

    def lines(self) -> list[str]:
        """The summary as Prometheus reads it."""
        head = [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} summary"]
        return [*head, f"{self.name}_sum {self.sum:.17g}", f"{self.name}_count {self.count}"]


class Metrics:
    """All numbers that the engine publishes. Each is written by one thread."""

    def __init__(self) -> None:
        self.request_count = Metric("tgi_request_count", "counter", "Requests received.")
        self.request_success = Metric("tgi_request_success", "counter", "Requests answered.")
        self.request_failure = Metric("tgi_request_failure", "counter", "Requests refused or failed.", "err")
        self.queue_size = Metric("tgi_queue_size", "gauge", "Requests that wait for a place in the batch.")
        self.batch_current_size = Metric("tgi_batch_current_size", "gauge", "Requests being decoded.")
        self.input_length = Summary("tgi_request_input_length", "Prompt tokens of answered requests.")
        self.generated_tokens = Summary("tgi_request_generated_tokens", "Generated tokens of answered requests.")
        self.forward_passes = Metric("embedded_forward_passes", "counter", "Forward passes of the model.")
        self.prefill_tokens = Metric("embedded_prefill_tokens", "counter", "Prompt tokens read by the model.")
        self.prefix_cache_hits = Metric(
            "embedded_prefix_cache_hits", "counter", "Reads that began from a known prefix."
        )
        self.reused_tokens = Metric(
            "embedded_prefix_reused_tokens", "counter", "Tokens of known prefixes not read again."
        )

    def render(self) -> str:
        """Everything, in Prometheus' text format 0.0.4."""
        return "\n".join(line for metric in vars(self).values() for line in metric.lines()) + "\n"
