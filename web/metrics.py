"""/metrics: one reading of a fleet as Prometheus' metric families (pure).

Units are base units, shares run from 0 to 1. An unknown value is left out and never reported as 0. A log line, an
expression or a path is never a label. The number of models as labels is bounded.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from fleet.clients.gpu import Card
from fleet.clients.ollama import LoadedModel
from fleet.config.ladder import Ladder, full_name
from fleet.policy.state import FleetState
from fleet.runtime.totals import OTHER, counters, histogram
from fleet.runtime.units import Seconds

MOST_MODELS = 5
"""Most models that are labels, those of the upper rungs first; all others share the label `other`."""

_MICROSECOND, _NANOSECOND = 1e-6, 1e-9


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a fleet. An unknown part is None.

    `loaded` are Ollama's models in memory, None while Ollama does not answer. `heartbeats` has the last beat of each
    program. `generator` is `run/generator.json`. `next_probe` is the time of the next probe.
    """

    now: float
    version: str
    ladder: Ladder
    up: bool
    state: FleetState | None = None
    next_probe: float | None = None
    generator: Mapping[str, Any] = field(default_factory=dict)
    heartbeats: Mapping[str, float] = field(default_factory=dict)
    ollama_up: bool | None = None
    loaded: Sequence[LoadedModel] | None = None
    cards: Sequence[Card] | None = None


def exposition(reading: Reading | Mapping[str, Reading], accept: str) -> tuple[bytes, str]:
    """Return the body and the content type that a scraper with this `Accept` header gets.

    The readings of lanes are given by the lanes' names, which become the label `lane`.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Families(families(reading) if isinstance(reading, Reading) else lane_families(reading))
    )
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Families:
    """A collector of families."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._found


_OF_ALL_LANES = ("fleet_build", "fleet_gpu_memory_used_bytes", "fleet_gpu_memory_total_bytes")
"""Families of the machine; they have no lane."""


def lane_families(readings: Mapping[str, Reading]) -> Iterable[Metric]:
    """Return the families of several lanes: each once, its samples with the label `lane`."""
    found: dict[str, Metric] = {}
    for lane, reading in readings.items():
        for family in families(reading):
            first = found.setdefault(family.name, family)
            if family.name not in _OF_ALL_LANES:
                own = [sample._replace(labels={**sample.labels, "lane": lane}) for sample in family.samples]
                first.samples = own if first is family else [*first.samples, *own]
    return found.values()


def families(reading: Reading) -> Iterator[Metric]:
    """Yield the metric families of a reading."""
    yield _gauge("fleet_up", "1 if the monitor's heartbeat is on time.", float(reading.up))
    build = InfoMetricFamily("fleet_build", "The version of Model Fleet.")
    build.add_metric([], {"version": reading.version})
    yield build
    yield from _heartbeats(reading)
    if reading.state is not None:
        yield from _state(reading, reading.state)
        yield from _events(reading, reading.state)
    yield from _ollama(reading)
    yield from _cards(reading.cards or ())
    yield from _mining(reading)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _heartbeats(reading: Reading) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "fleet_heartbeat_timestamp_seconds", "The last heartbeat of a program.", labels=["program"]
    )
    for program, beat in reading.heartbeats.items():
        family.add_metric([program], beat)
    if family.samples:
        yield family


def _state(reading: Reading, state: FleetState) -> Iterator[Metric]:
    held = state.hold is not None and state.hold.active(reading.now)
    yield _gauge("fleet_rung", "The current rung; 0 is the top of the ladder.", state.current_model_index)
    yield _gauge("fleet_rungs", "The number of rungs of the ladder.", len(reading.ladder))
    yield _gauge("fleet_held", "1 while the generator is held.", float(held))
    yield _gauge("fleet_pinned", "1 while a pin stops automatic switches.", float(state.pinned))
    if reading.next_probe is not None:
        text = "The time of the next probe of a larger model."
        yield _gauge("fleet_next_probe_timestamp_seconds", text, reading.next_probe)
    last = log_time(state.cursors.get("log"))
    if last is not None:
        text = "The time of the last line read from Ollama's log."
        yield _gauge("fleet_log_last_line_timestamp_seconds", text, last)


def log_time(cursor: object) -> Seconds | None:
    """Return the time of the last handled line by the cursor of its source; None if the cursor has none."""
    if not isinstance(cursor, Mapping):
        return None
    name, unit = {
        "docker": ("last", _NANOSECOND),
        "file": ("mtime_ns", _NANOSECOND),
        "journal": ("time", _MICROSECOND),
    }.get(str(cursor.get("kind")), ("", 0.0))
    value = cursor.get(name)
    return value * unit if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _events(reading: Reading, state: FleetState) -> Iterator[Metric]:
    labels = _ModelLabels(reading.ladder)
    incidents = CounterMetricFamily(
        "fleet_incidents", "Incidents by cause and model.", labels=["cause", "model"]
    )
    rows = counters(state.totals, "incidents", 2)
    _add(incidents, (((cause, labels.of(model)), count) for (cause, model), count in rows.items()))
    switches = CounterMetricFamily(
        "fleet_switches", "Ended switches by kind and result.", labels=["kind", "result"]
    )
    _add(switches, counters(state.totals, "switches", 2).items())
    yield from (family for family in (incidents, switches) if family.samples)
    yield from _histogram(
        "fleet_switch_duration_seconds",
        "Duration of a switch that was done, from its plan to its end.",
        state.totals,
        "switch_seconds",
    )


def _add(family: CounterMetricFamily, rows: Iterable[tuple[tuple[str, ...], float]]) -> None:
    """Add the rows of a counter; rows whose labels became equal are summed."""
    sums: dict[tuple[str, ...], float] = defaultdict(float)
    for labels, count in rows:
        sums[labels] += count
    for labels, count in sums.items():
        family.add_metric(labels, count)


class _ModelLabels:
    """The labels of models: the names of the upper rungs, empty for no model, `other` for all others."""

    def __init__(self, ladder: Ladder) -> None:
        names = list(dict.fromkeys(rung.model for rung in ladder))[:MOST_MODELS]
        self.names = tuple(names)
        self._known = {full_name(name): name for name in names}

    def of(self, model: str) -> str:
        return self._known.get(full_name(model), OTHER) if model else ""


def _histogram(name: str, text: str, totals: object, stored: str) -> Iterator[Metric]:
    values = histogram(totals, stored)
    if values is None:
        return
    bounds = [*(repr(bound) for bound in values.bounds), "+Inf"]
    buckets = list(zip(bounds, values.counts, strict=True))
    yield HistogramMetricFamily(name, text, buckets=buckets, sum_value=values.sum)


def _ollama(reading: Reading) -> Iterator[Metric]:
    if reading.ollama_up is not None:
        yield _gauge("fleet_ollama_up", "1 if Ollama answers.", float(reading.ollama_up))
    if reading.loaded is None:
        return
    labels = _ModelLabels(reading.ladder)
    loaded = dict.fromkeys(labels.names, 0.0)
    sizes: dict[str, dict[str, float]] = {"vram": {}, "size": {}, "context": {}}
    for one in reading.loaded:
        label = labels.of(one.name)
        loaded[label] = 1.0
        figures = {"vram": one.size_vram, "size": one.size, "context": one.context_length}
        for part, amount in figures.items():
            if amount is not None and not (part == "context" and label == OTHER):
                sizes[part][label] = sizes[part].get(label, 0) + amount
    yield _by_model("fleet_model_loaded", "1 for a model in memory, 0 for another of the ladder.", loaded)
    for name, text, part in (
        ("fleet_model_vram_bytes", "The part of a loaded model in GPU memory.", "vram"),
        ("fleet_model_size_bytes", "The size of a loaded model in memory.", "size"),
        ("fleet_model_context_length", "The context length of a loaded model in tokens.", "context"),
    ):
        if sizes[part]:
            yield _by_model(name, text, sizes[part])


def _by_model(name: str, text: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["model"])
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _cards(cards: Sequence[Card]) -> Iterator[Metric]:
    if not cards:
        return
    names = ["gpu", "name", "uuid"]
    used = GaugeMetricFamily(
        "fleet_gpu_memory_used_bytes", "GPU memory in use by all programs.", labels=names
    )
    total = GaugeMetricFamily("fleet_gpu_memory_total_bytes", "GPU memory of the card.", labels=names)
    for number, card in enumerate(cards):
        labels = [str(number), card.name, card.uuid]
        used.add_metric(labels, card.used)
        total.add_metric(labels, card.total)
    yield used
    yield total


def _mining(reading: Reading) -> Iterator[Metric]:
    totals, labels = reading.generator.get("counters"), _ModelLabels(reading.ladder)
    for name, text, stored in (
        ("fleet_prompt_tokens", "Tokens of prompts by model.", "prompt_tokens"),
        ("fleet_generation_tokens", "Tokens of replies by model.", "generation_tokens"),
    ):
        family = CounterMetricFamily(name, text, labels=["model"])
        _add(
            family, (((labels.of(model),), count) for (model,), count in counters(totals, stored, 1).items())
        )
        if family.samples:
            yield family
    expressions = CounterMetricFamily(
        "fleet_expressions", "Expressions by model: valid, duplicate, invalid.", labels=["model", "outcome"]
    )
    rows = counters(totals, "expressions", 2)
    _add(expressions, (((labels.of(model), outcome), count) for (model, outcome), count in rows.items()))
    alphas = CounterMetricFamily("fleet_alphas", "Evaluated alphas.", labels=["source", "kept"])
    _add(alphas, counters(totals, "alphas", 2).items())
    yield from (family for family in (expressions, alphas) if family.samples)
    for amount in counters(totals, "trials", 0).values():
        text = "Distinct expressions with figures, under each of the settings."
        yield CounterMetricFamily("fleet_trials", text, value=amount)
    for name, text, stored in (
        ("fleet_request_duration_seconds", "Duration of a call to Ollama.", "request_seconds"),
        ("fleet_load_duration_seconds", "Time that Ollama reports for loading.", "load_seconds"),
        (
            "fleet_time_to_first_token_seconds",
            "Time that Ollama reports for loading and the prompt.",
            "first_token_seconds",
        ),
    ):
        yield from _histogram(name, text, totals, stored)
