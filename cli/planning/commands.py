"""The commands `ladder` and `scan`: they need no running fleet."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

from cli.console import Chosen, lane_option, print_json, show
from cli.target import Fleet
from fleet.clients.gpu import is_amd
from fleet.runtime.errors import FleetError
from fleet.runtime.home import DEFAULT_LANE
from fleet.runtime.units import Bytes, parse_size


def _size(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Bytes | None:
    """Return the bytes of a size, None for none; click reports any other text."""
    if value is None:
        return None
    try:
        size = parse_size(value)
    except ValueError:
        size = 0
    if size <= 0:
        raise click.BadParameter(f'{value!r} is no size; write it as "8GB"', ctx, parameter)
    return size


@click.command()
@click.option(
    "--suggest",
    is_flag=True,
    help="Print a ladder for the machine's GPU memory, to be pasted into fleet.toml.",
)
@click.option("--vram", callback=_size, metavar="SIZE", help="Suggest for so much GPU memory, such as 8GB.")
@lane_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def ladder(chosen: Chosen, suggest: bool, vram: Bytes | None, as_json: bool) -> None:
    """Show the ladder and what each rung needs, or suggest one for the card."""
    from cli.planning import current
    from cli.planning import suggest as suggesting
    from cli.planning.memory import KnownMemory, gpu_memory
    from cli.target import any_fleet

    fleet = any_fleet(chosen.config, chosen.environ)
    if not suggest and vram is None:
        rows = current.rung_rows(fleet.rules)
        if as_json:
            print_json(rows)
        else:
            show(current.rung_lines(rows))
        return
    memory = KnownMemory(vram, "--vram") if vram is not None else gpu_memory(fleet.home)
    ollama = None if fleet.standin else fleet.ollama()
    found = suggesting.suggest(
        memory, suggesting.candidates_of(ollama), fleet.settings.policy.reserve.of(memory.total)
    )
    if as_json:
        print_json(suggesting.suggestion_row(found))
    else:
        click.echo(suggesting.suggestion_toml(found))


def _sizes(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[Bytes]:
    """Return the sizes of a list such as "8GB,12GB"; click reports any other text."""
    if value is None:
        return []
    return [size for text in value.split(",") if (size := _size(ctx, parameter, text.strip()))]


@click.command()
@click.option("--suggest", is_flag=True, help="Print a lane for each GPU, to be pasted into fleet.toml.")
@click.option("--gpus", callback=_sizes, metavar="SIZES", help='Suggest for these GPUs, such as "8GB,12GB".')
@click.option("--compose", is_flag=True, help="Suggest for Ollamas as Compose services, not under systemd.")
@click.option("--services", is_flag=True, help="Print the services alone: shell commands, or a Compose file.")
@lane_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def lanes(
    chosen: Chosen, *, suggest: bool, gpus: list[Bytes], compose: bool, services: bool, as_json: bool
) -> None:
    """Show the lanes, or suggest one for each GPU with an Ollama and a ladder of its own."""
    from cli.planning import lanes as planning
    from cli.planning.memory import each_card
    from cli.planning.suggest import candidates_of
    from cli.target import any_fleet

    fleet = any_fleet(chosen.config, chosen.environ)
    if not (suggest or gpus or compose or services):
        _show_lanes(fleet, as_json=as_json)
        return
    found = planning.suggest_lanes(
        each_card(gpus),
        candidates_of(None if fleet.standin else fleet.ollama()),
        fleet.settings.policy.reserve,
        variable=planning.HIP if is_amd() else planning.CUDA,
        compose=compose,
    )
    text = (planning.compose_services if compose else planning.systemd_services)(found)
    if as_json:
        print_json(planning.lanes_rows(found))
    else:
        click.echo(text if services else planning.lanes_toml(found, text))


def _show_lanes(fleet: Fleet, *, as_json: bool) -> None:
    rows = [
        {
            "lane": lane.home.lane or DEFAULT_LANE,
            "home": str(lane.home.path),
            "ollama_url": lane.url,
            "log_source": lane.log_source or None,
            "ladder": [rung.label for rung in lane.settings.ladder],
        }
        for lane in fleet.lanes()
    ]
    if as_json:
        print_json(rows)
    else:
        show([_lane_line(row) for row in rows])


def _lane_line(row: Mapping[str, Any]) -> str:
    log = row["log_source"] or "found out at the start"
    return f"{row['lane']}: {row['ollama_url']}, log {log}, {row['home']}"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--explain", is_flag=True, help="Show the line and the pattern of each signal.")
@lane_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a file.")
@click.pass_obj
def scan(chosen: Chosen, files: tuple[str, ...], explain: bool, as_json: bool) -> None:
    """Analyse logs: signals, incidents, and the switches of the policy; - is standard input.

    `scan A.toml B.toml LOG` compares two configurations: their first different move, and their minutes on each rung.
    """
    from cli.planning.scan import scan_bar, scan_lines, scan_log, settings_for_scan

    policies = [name for name in files if name.endswith(".toml")]
    logs = [name for name in files if name not in policies]
    if policies:
        _compare(policies, logs, as_json=as_json)
        return
    settings = settings_for_scan(chosen.config, chosen.environ)
    failures = []
    for name in logs:
        try:
            scanned = scan_log(name, settings, scan_bar(name))
        except FleetError as error:
            failures.append(error)
            continue
        if as_json:
            click.echo(json.dumps(scanned.report.to_json()))
        else:
            click.echo("\n".join(scan_lines(scanned, explain=explain)))
    for failure in failures[:-1]:
        click.echo(f"Error: {failure.message}\nHint: {failure.hint}", err=True)
    if failures:
        raise failures[-1]


def _compare(policies: Sequence[str], logs: Sequence[str], *, as_json: bool) -> None:
    """Print the comparison of two policies for each log."""
    from cli.planning import compare
    from cli.planning.scan import scan_bar, scan_log, settings_for_scan
    from fleet.policy.rules import Rules

    if len(policies) != len("AB") or not logs or "-" in logs:
        raise click.UsageError(
            "To compare, name two .toml files and a log that can be read twice: A.toml B.toml LOG."
        )
    settings = [settings_for_scan(name, os.environ) for name in policies]
    for log in logs:
        reports = [scan_log(log, one, scan_bar(log)).report for one in settings]
        courses = [
            compare.simulate(report, Rules(one.ladder, one.policy))
            for report, one in zip(reports, settings, strict=True)
        ]
        if as_json:
            click.echo(json.dumps(compare.comparison_row(log, policies, courses)))
        else:
            show(list(compare.comparison_lines(log, policies, courses)))
