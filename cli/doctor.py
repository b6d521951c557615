"""`doctor`: checks every part of a fleet, and names the remedy of each fault."""

import os
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from cli.faults import Finding, Health, faults
from cli.operator import apply_hint, edited_since
from cli.planning.memory import gpu_memory
from cli.render import brain_sentence
from cli.status import brain_of, collect_status
from cli.target import Fleet, now
from fleet.clients.gpu import NO_FIGURES, cards
from fleet.clients.supervisor import ProgramState
from fleet.runtime.errors import FleetError, OllamaError
from fleet.runtime.home import read_json
from fleet.runtime.units import GIGABYTE, show_duration, show_size
from fleet.startup.card import wasted_card
from fleet.startup.profile import MachineProbes
from generator.brain.credentials import CredentialSource, credential_source, read_file
from monitor.models.inventory import Models, rungs_here
from monitor.sources.journal.journalctl import JournalError, last_entry, nothing_of
from monitor.switching.generator_process import GENERATOR
from monitor.watch.spill import gpu_known
from state.store import read_state

_STALE = 60.0
_BEATS = "It writes one once it runs."
_ROOM = GIGABYTE // 2
_NO_GPU_KNOWN = (
    "Ollama's log names its GPUs at its start (`inference compute`). Without one, this is as it should be."
)


def examine(fleet: Fleet) -> list[Finding]:
    """Return the findings of all checks. A check that fails is a fault, and the others still run."""
    findings: list[Finding] = []
    for check in _CHECKS:
        try:
            findings.extend(check(fleet))
        except FleetError as error:
            findings.append(Finding(_part(check), Health.FAULT, error.message, error.hint))
        except OSError as error:
            findings.append(
                Finding(_part(check), Health.FAULT, str(error), "Check its permissions and the path.")
            )
    return findings


def _part(check: Callable[[Fleet], Iterator[Finding]]) -> str:
    return check.__name__.strip("_").replace("_", " ")


def _configuration(fleet: Fleet) -> Iterator[Finding]:
    source, rungs = fleet.settings.source, len(fleet.settings.ladder)
    yield Finding("configuration", Health.SOUND, f"{source}, {rungs} rung{'s' * (rungs != 1)}")


def _home(fleet: Fleet) -> Iterator[Finding]:
    path = fleet.home.path
    if not path.exists():  # a lane that is new in fleet.toml
        yield Finding("home", Health.SOUND, f"{path}: none yet; the first start makes it")
        return
    free = shutil.disk_usage(path).free
    health = Health.SOUND if free >= _ROOM else Health.WARNING  # even less is a fault of `_faults`
    hint = "" if health is Health.SOUND else "Make room on this disk."
    yield Finding("home", health, f"{path}, {show_size(free)} free", hint)
    run = fleet.home.run
    if run.exists() and stat.S_IMODE(run.stat().st_mode) & 0o077:
        yield Finding("home", Health.FAULT, f"{run} is open to others", f"chmod 700 {shlex.quote(str(run))}")


def _state(fleet: Fleet) -> Iterator[Finding]:
    state = read_state(fleet.home)
    if state is None:
        yield Finding("state", Health.SOUND, "none yet; the first start makes it")
    else:
        yield Finding("state", Health.SOUND, f"rung {state.current_model_index}, {state.current_model}")
    damaged = sorted(fleet.home.path.glob("model_fleet_state.json.corrupt-*"))
    if damaged:
        yield Finding(
            "state", Health.WARNING, f"{len(damaged)} damaged file(s) set aside", f"See {damaged[-1]}."
        )


def _supervisord(fleet: Fleet) -> Iterator[Finding]:
    """Yield the state of each program. `_faults` covers programs that are down or keep restarting."""
    for program in fleet.supervisor(timeout=1.0).programs():
        name, state = program.name, program.state.name
        if program.state is ProgramState.RUNNING:
            yield Finding("supervisord", Health.SOUND, f"{name} is {state}")
        elif program.state is ProgramState.STARTING:
            hint = "It runs in a second, or supervisord starts it again; run `doctor` once more."
            yield Finding("supervisord", Health.WARNING, f"{name} is {state}", hint)
        elif name == GENERATOR and program.state is ProgramState.STOPPED:
            hint = f"It was stopped by hand: `{fleet.home.supervisorctl('start', name)}` starts it."
            yield Finding("supervisord", Health.WARNING, f"{name} is {state}", hint)
        if program.name == "monitor" and edited_since(fleet, program.pid):
            detail = "it was changed after the monitor's start"
            yield Finding("configuration", Health.WARNING, detail, apply_hint(fleet))


def _generator(fleet: Fleet) -> Iterator[Finding]:
    row = read_json(fleet.home.generator_file)
    if row is None:
        yield Finding("generator", Health.WARNING, "has written no heartbeat yet", _BEATS)
        return
    beat = row.get("heartbeat")
    age = now() - beat if isinstance(beat, (int, float)) else _STALE + 1
    health = Health.SOUND if age < _STALE else Health.WARNING
    hint = "" if age < _STALE else _BEATS  # `_faults` has the remedy where supervisord runs it
    yield Finding("generator", health, f"last heartbeat {show_duration(age)} ago", hint)
    away = row.get("database_away")
    if isinstance(away, dict):
        yield Finding("database", Health.FAULT, str(away.get("reason")), str(away.get("hint", "")))


def _brain(fleet: Fleet) -> Iterator[Finding]:
    """Check the credentials and the generator's last report of BRAIN, without a request to BRAIN."""
    config = Path(fleet.settings.source) if fleet.settings.source else None
    account = credential_source(fleet.settings.brain.credentials, config, fleet.home.root(), os.environ)
    wanted = fleet.settings.generator.evaluator
    if fleet.standin or wanted == "local":
        if account.present:
            why = "a stand-in fleet sends it nothing" if fleet.standin else 'evaluator = "local"'
            yield Finding("brain", Health.SOUND, f"not asked: {why}")
        return
    if account.present or wanted != "auto":
        yield _credentials(account)
    standing = brain_of(read_json(fleet.home.generator_file))
    if standing is not None:
        yield Finding("brain", Health.SOUND, brain_sentence(standing))


def _credentials(account: CredentialSource) -> Finding:
    path = account.file
    if account.given or path is None:
        account.read()
        return Finding("credentials", Health.SOUND, "BRAIN's are in the environment")
    _, remark = read_file(path)
    if remark:
        return Finding("credentials", Health.WARNING, remark, f"chmod 600 {shlex.quote(str(path))}")
    return Finding("credentials", Health.SOUND, f"{path}, mode 0600")


def _ollama(fleet: Fleet) -> Iterator[Finding]:
    client = fleet.ollama()
    version = client.version(timeout=1.0)
    yield Finding("ollama", Health.SOUND, f"{fleet.url}, version {version}")
    ladder = fleet.settings.ladder
    here = rungs_here(ladder, client.tags(timeout=2.0))
    missing = [rung.model for rung in ladder if rung.index not in here]
    if missing:
        pulls = fleet.settings.ollama.auto_pull
        hint = "They are pulled when they are needed." if pulls else f"ollama pull {missing[0]}"
        health = Health.WARNING if pulls else Health.FAULT
        yield Finding("models", health, f"not in Ollama: {', '.join(missing)}", hint)
    yield from _needs(fleet)


def _needs(fleet: Fleet) -> Iterator[Finding]:
    """Yield a warning for each rung that needs more memory than the one above: a downgrade frees none."""
    ladder = fleet.settings.ladder
    models = Models(fleet.ollama(), ladder)
    models.refresh()
    for rung in ladder:
        above = models.needs[rung.index - 1] if rung.index else None
        need = models.needs[rung.index]
        if need is None or above is None or need <= above or fleet.settings.policy.selection == "fits":
            continue
        larger = ladder[rung.index - 1].label
        yield Finding(
            "ladder",
            Health.WARNING,
            f"{rung.label} needs {show_size(need)}, more than {larger} above it ({show_size(above)})",
            'Set selection = "fits" in [policy], or give it a smaller num_ctx.',
        )


def _docker(fleet: Fleet) -> Iterator[Finding]:
    if not fleet.log_source.startswith("docker:"):
        return
    reason = MachineProbes(os.environ).engine()
    if reason:
        hint = "Is the Engine running, and may this user use its socket? DOCKER_HOST names another."
        yield Finding("docker", Health.FAULT, reason, hint)
    else:
        yield Finding("docker", Health.SOUND, "the Engine answers")


def _gpu(fleet: Fleet) -> Iterator[Finding]:
    try:
        found = cards()
    except FleetError as error:
        if not fleet.standin:
            raise
        yield Finding("gpu", Health.WARNING, f"{error.message} (the stand-in needs no GPU)", error.hint)
        return
    if found is None:
        where = "the stand-in needs none" if fleet.standin else "Ollama may run elsewhere"
        yield Finding("gpu", Health.SOUND, f"no nvidia-smi and no rocm-smi on this machine ({where})")
    elif not found:
        yield Finding("gpu", Health.WARNING, NO_FIGURES, "Is the driver loaded?")
    for card in found or []:
        free = show_size(card.total - card.used)
        detail = f"{card.name}: {show_size(card.used)} of {show_size(card.total)} in use, {free} free"
        yield Finding("gpu", Health.SOUND, detail)


def _ladder_and_card(fleet: Fleet) -> Iterator[Finding]:
    try:
        memory = 0 if fleet.standin else gpu_memory(fleet.home).total
    except FleetError:
        return  # `_gpu` reports it
    if wasted := wasted_card(fleet.settings.ladder, memory):
        command = fleet.home.command("python3 fleet_cli.py ladder --suggest")
        yield Finding("ladder", Health.WARNING, wasted, f"`{command}` prints a larger one.")


def _gpu_memory(fleet: Fleet) -> Iterator[Finding]:
    try:
        loaded = fleet.ollama().loaded(timeout=1.0)
    except OllamaError:
        return  # `_ollama` reports it
    state = read_state(fleet.home)
    has_gpu = None if state is None else gpu_known(state)
    for model in loaded:
        share = model.size_vram / model.size if model.size else 0.0
        low = share < fleet.settings.policy.spill_share
        no_gpu = low and not model.size_vram and has_gpu is not True
        hint = "It does not fit: a smaller model or num_ctx would be faster." if low else ""
        if no_gpu:
            hint = "" if has_gpu is False else _NO_GPU_KNOWN
        health = Health.WARNING if hint else Health.SOUND
        where = "wholly on the CPU" if no_gpu else f"{share:.0%} in GPU memory"
        yield Finding("gpu memory", health, f"{model.name}: {where}", hint)


def _log_source(fleet: Fleet) -> Iterator[Finding]:
    spec = fleet.log_source
    kind, _, name = spec.partition(":")
    if kind == "file":
        there = os.access(Path(name), os.R_OK)
        hint = "" if there else "Correct [ollama] log, or its permissions."
    elif kind == "docker":
        there = MachineProbes(os.environ).container(name)
        hint = "" if there else "Is the Engine at DOCKER_HOST reachable, and the container's name right?"
    elif kind == "journal":
        hint = _journal_fault(name)
        there = not hint
    else:
        there, hint = False, "Start the fleet once, or set [ollama] log."
    health = Health.SOUND if there else Health.FAULT
    yield Finding("log source", health, spec or "not known", hint)


def _journal_fault(unit: str) -> str:
    try:
        return nothing_of(unit).sentence if last_entry(unit) is None else ""
    except JournalError as error:
        return error.sentence


def _faults(fleet: Fleet) -> Iterator[Finding]:
    """Yield the faults of `status`; of parts that are away only the history, since other checks report the others."""
    row = collect_status(fleet, within=1.0)
    return (fault for fault in faults(row, now()) if fault.part == "history" or fault.part not in row["away"])


_CHECKS: tuple[Callable[[Fleet], Iterator[Finding]], ...] = (
    _configuration,
    _home,
    _state,
    _supervisord,
    _generator,
    _brain,
    _docker,
    _ollama,
    _gpu,
    _ladder_and_card,
    _gpu_memory,
    _log_source,
    _faults,
)
