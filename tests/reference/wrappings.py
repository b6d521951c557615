"""How log drivers, shippers and viewers wrap a line: each takes the line and its time and returns the wrapped line.

Forms with a local time without a zone are written in UTC, or where they name a zone, in that zone.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

CET = timezone(timedelta(hours=1), "CET")


def at_time(at: float, form: str, zone: timezone = UTC) -> str:
    """Return a time in a form of `strftime`."""
    return datetime.fromtimestamp(at, zone).strftime(form)


def iso(at: float) -> str:
    return at_time(at, "%Y-%m-%dT%H:%M:%S.%f000Z")


def _shipped(key: str, clock: str, stamp: Callable[[float], object]) -> Callable[[str, float], str]:
    """Return the wrapping of a shipper: the line under one key, its time under another, others around them."""
    return lambda line, at: json.dumps(
        {"host": "box", key: line, "source_type": "file", "file": "/var/log/ollama.log", clock: stamp(at)}
    )


def _bytes_in_journald(line: str, at: float) -> str:
    entry = {"__REALTIME_TIMESTAMP": str(round(at * 1e6)), "PRIORITY": "6", "MESSAGE": list(line.encode())}
    return json.dumps(entry, separators=(",", ":"))


WRAPPINGS: dict[str, Callable[[str, float], str]] = {
    "compose": lambda line, _: f"ollama-1  | {line}",
    "coloured": lambda line, _: f"\x1b[36mollama    |\x1b[0m {line}",
    "terminal": lambda line, _: line.replace("| POST    ", "|\x1b[97;46m POST    \x1b[0m").replace(
        "| 500 |", "|\x1b[97;41m 500 \x1b[0m|"
    ),
    "kubectl": lambda line, _: f"[pod/ollama-0/ollama] {line}",
    "tty": lambda line, _: f"{line}\r",
    "docker": lambda line, at: f"{iso(at)} {line}",
    "containerd": lambda line, at: f"{iso(at)} stderr F {line}",
    "json-file": lambda line, at: json.dumps({"log": f"{line}\n", "stream": "stderr", "time": iso(at)}),
    "swarm": lambda line, _: f"ai_ollama.1.x8zq3k9q@node-1    | {line}",
    "journald": lambda line, at: f"{at_time(at, '%Y-%m-%dT%H:%M:%S')}+0000 box ollama[9]: {line}",
    "journald short": lambda line, at: f"{at_time(at, '%b %d %H:%M:%S')} box ollama[9]: {line}",
    "journald short-full": lambda line, at: (
        f"{at_time(at, '%a %Y-%m-%d %H:%M:%S')} UTC box ollama[9]: {line}"
    ),
    "journald short-full, named zone": lambda line, at: (
        f"{at_time(at, '%a %Y-%m-%d %H:%M:%S', CET)} CET box ollama[9]: {line}"
    ),
    "journald short-full, numbered zone": lambda line, at: (
        f"{at_time(at, '%a %Y-%m-%d %H:%M:%S', timezone(timedelta(hours=-3)))} -03 box ollama[9]: {line}"
    ),
    "journald with-unit": lambda line, at: (
        f"{at_time(at, '%a %Y-%m-%d %H:%M:%S')} UTC box user@1000.service/app-ollama.service[9]: {line}"
    ),
    "journald short-unix": lambda line, at: f"{at:.6f} box ollama[9]: {line}",
    "journald short-monotonic": lambda line, at: f"[{at % 1e6:12.6f}] box ollama[9]: {line}",
    "journald short-delta": lambda line, at: f"[{at % 1e6:12.6f} <    0.000123 >] box ollama[9]: {line}",
    "journald verbose": lambda line, _: f"    MESSAGE={line}",
    "journald json": _shipped("MESSAGE", "__REALTIME_TIMESTAMP", lambda at: str(round(at * 1e6))),
    "journald json-sse": lambda line, at: f"data: {_bytes_in_journald(line, at)}",
    "journald json-seq": lambda line, at: f"\x1e{_bytes_in_journald(line, at)}",
    "journald json-pretty": lambda line, _: f'\t"MESSAGE" : {json.dumps(line)},',
    "journald bytes": _bytes_in_journald,
    "journald bytes, spaced": lambda line, at: json.dumps(json.loads(_bytes_in_journald(line, at))),
    "syslog RFC 3164": lambda line, at: f"<30>{at_time(at, '%b %d %H:%M:%S')} box ollama[9]: {line}",
    "syslog RFC 5424": lambda line, at: f"<30>1 {iso(at)[:26]}Z box ollama 9 - - {line}",
    "syslog RFC 5424, data": lambda line, at: (
        f'<30>1 {iso(at)[:26]}Z box ollama 9 out [meta sequenceId="1"][x@1 a="b"] \ufeff{line}'
    ),
    "rsyslog file": lambda line, at: f"{at_time(at, '%Y-%m-%dT%H:%M:%S.%f')}+00:00 box ollama[9]: {line}",
    "docker syslog": lambda line, at: f"<27>{at_time(at, '%Y-%m-%dT%H:%M:%S')}Z box 3f4e8a1c2b3d[9]: {line}",
    "podman --names": lambda line, _: f"ollama {line}",
    "podman --names --timestamps": lambda line, at: f"ollama {iso(at)[:-1]}+00:00 {line}",
    "podman --timestamps": lambda line, at: f"{iso(at)[:-1]}+00:00 {line}",
    "podman-compose": lambda line, _: f"\x1b[1;32m[ollama]     |\x1b[0m {line}",
    "stern": lambda line, _: f"ollama-0 ollama {line}",
    "stern -t": lambda line, at: f"ollama-0 ollama {iso(at)} {line}",
    "stern -t short": lambda line, at: f"ollama-0 ollama {at_time(at, '%m-%d %H:%M:%S')} {line}",
    "stern -A": lambda line, _: f"default \x1b[36mollama-0\x1b[0m \x1b[32mollama\x1b[0m {line}",
    "stern -o json": _shipped("message", "podName", lambda _: "ollama-0"),
    "kail": lambda line, _: f"ai/ollama-0[ollama]: {line}",
    "kubetail": lambda line, _: f"[ollama-0] {line}",
    "kubectl --timestamps": lambda line, at: f"[pod/ollama-0/ollama] {iso(at)} {line}",
    "srun -l": lambda line, _: f" 0: {line}",
    "mpirun --tag-output": lambda line, _: f"[1,0]<stderr>:{line}",
    "pdsh": lambda line, _: f"node-1: {line}",
    "pm2": lambda line, _: f"0|ollama   | {line}",
    "pm2, dated": lambda line, at: f"0|ollama   | {at_time(at, '%Y-%m-%d %H:%M:%S')} +00:00: {line}",
    "pm2 --time": lambda line, at: f"0|ollama | {at_time(at, '%Y-%m-%dT%H:%M:%S')}: {line}",
    "foreman": lambda line, at: f"{at_time(at, '%H:%M:%S')} ollama.1  | {line}",
    "concurrently": lambda line, _: f"[ollama] {line}",
    "aws logs tail": lambda line, at: f"{iso(at)[:26]}+00:00 ollama/ollama/3f4e8a1c2b3d {line}",
    "aws logs tail --format short": lambda line, at: f"{at_time(at, '%Y-%m-%dT%H:%M:%S')} {line}",
    "gcloud": lambda line, at: f"{at_time(at, '%Y-%m-%d %H:%M:%S')}\t{line}",
    "heroku": lambda line, at: f"{iso(at)[:26]}+00:00 app[ollama.1]: {line}",
    "fly": lambda line, at: f"{iso(at)[:19]}Z app[3287] fra [info]{line}",
    "actions": lambda line, at: f"{iso(at)[:27]}Z {line}",
    "gh run view": lambda line, at: f"test\tRun ollama serve\t{iso(at)[:27]}Z {line}",
    "ts": lambda line, at: f"{at_time(at, '%b %d %H:%M:%S')} {line}",
    "ts, bracketed": lambda line, at: f"[{at_time(at, '%Y-%m-%d %H:%M:%S')}] {line}",
    "ts, seconds": lambda line, at: f"{at:.6f} {line}",
    "ts -s": lambda line, at: f"{at_time(at, '%H:%M:%S')} {line}",
    "svlogd": lambda line, at: f"{at_time(at, '%Y-%m-%d_%H:%M:%S.%f')[:25]} {line}",
    "s6-log": lambda line, at: f"{at_time(at, '%Y-%m-%d %H:%M:%S.%f')}789  {line}",
    "fluentd file": lambda line, at: (
        f"{at_time(at, '%Y-%m-%dT%H:%M:%S')}+00:00\tollama\t{json.dumps({'log': line, 'stream': 'stderr'})}"
    ),
    "fluentd stdout": lambda line, at: (
        f"{at_time(at, '%Y-%m-%d %H:%M:%S.%f')}000 +0000 docker.ollama: {json.dumps({'log': line})}"
    ),
    "logcli": lambda line, at: f'{iso(at)[:19]}Z {{app="ollama", stream="stderr"}} {line}',
    "promtail --dry-run": lambda line, at: f'{iso(at)}\t{{filename="/var/log/ollama.log"}}\t{line}',
    "python logging": lambda line, at: f"{at_time(at, '%Y-%m-%d %H:%M:%S')},254 - ollama - INFO - {line}",
    "docker --details": lambda line, at: f"{iso(at)} com.docker.compose.service=ollama,x=y {line}",
    "vector": _shipped("message", "timestamp", iso),
    "filebeat": _shipped("message", "@timestamp", iso),
    "fluent-bit": _shipped("log", "date", lambda at: at),
    "fluent-bit, named": _shipped("log", "@timestamp", iso),
    "loki": _shipped("line", "ts", iso),
    "logcli -o jsonl": _shipped("line", "timestamp", iso),
    "grafana": _shipped("line", "timestamp", lambda at: str(round(at * 1e9))),
    "promtail": _shipped("line", "timestamp", lambda at: round(at * 1e9)),
    "gcloud JSON": _shipped("textPayload", "timestamp", iso),
    "gelf": _shipped("short_message", "timestamp", lambda at: at),
    "with a level": lambda line, at: json.dumps({"level": "info", "message": line, "timestamp": iso(at)}),
    "pino": lambda line, at: json.dumps({"level": 50, "time": round(at * 1e3), "pid": 9, "msg": f"{line}\n"}),
    "CloudWatch JSON": _shipped("message", "timestamp", lambda at: round(at * 1e3)),
}
"""Wrappings by name."""

UNDATED = frozenset({
    "compose", "coloured", "terminal", "kubectl", "tty", "swarm", "journald short-monotonic", "journald short-delta",
    "journald verbose", "journald json-pretty", "podman --names", "podman-compose", "stern", "stern -A",
    "stern -o json", "kail", "kubetail", "srun -l", "mpirun --tag-output", "pdsh", "pm2", "foreman", "concurrently", "ts -s",
})  # fmt: skip
"""Wrappings whose prefix has no date, or none that is read: a line without a stamp of its own has the last line's time."""
