"""The programs of lanes: sections of supervisord.conf, copied for each lane into `run/programs.conf`.

supervisord.conf includes that file. The file also leaves the lane `default` without programs: its monitor and generator
would work against those of the lanes.
"""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.runtime.home import ROOT, Home
from fleet.startup.profile import ProfileChoice

_HEAD = """\
; Written at each start from fleet.toml's [[lane]] entries; changes here are lost.
; The lane `default`, the home's own files, has no programs while there are lanes.
[program:monitor]
numprocs=0

[program:generator]
numprocs=0
"""
_HOME = "%(ENV_FLEET_HOME)s/"


@dataclass(frozen=True, slots=True)
class LanePlan:
    """A lane to start: its home, its profile, and the port of its stand-in, 0 without one."""

    home: Home
    choice: ProfileChoice
    port: int = 0


def write_programs(home: Home, lanes: Sequence[LanePlan]) -> None:
    """Write the lanes' programs into the home; raise OSError."""
    text = (ROOT / "supervisord.conf").read_text("utf-8")
    standin = (ROOT / "standin" / "program.conf").read_text("utf-8")
    home.programs_file.write_text(programs_conf(lanes, text, standin, ROOT), "utf-8")


def programs_conf(lanes: Sequence[LanePlan], conf: str, standin: str, root: Path) -> str:
    """Return the sections of the lanes' programs, made from supervisord.conf and the stand-in's section (pure)."""
    parts = [_HEAD]
    for lane in lanes:
        sections = [(name, conf, root) for name in ("monitor", "generator")]
        if lane.port:
            sections.insert(0, ("standin", standin, root / "standin"))
        parts += ["\n".join(_section(lane, name, text, here)) for name, text, here in sections]
    return "\n".join(parts)


def _section(lane: LanePlan, program: str, conf: str, here: Path) -> Iterator[str]:
    """Yield the lines of a program's section for a lane."""
    inside = False
    for line in conf.splitlines():
        if line.startswith("["):
            inside = line.startswith(f"[program:{program}]")
            if inside:
                yield f"[program:{lane.home.program(program)}]"
        elif inside:
            yield (
                line.replace("%(here)s", str(here))
                .replace(_HOME, f"{_HOME}lanes/{lane.home.lane}/")
                .replace("environment=", f'environment=FLEET_LANE="{lane.home.lane}",')
                .replace("%(ENV_FLEET_STANDIN_PORT)s", str(lane.port))
            )


def include_pattern(path: Path) -> str:
    """Return a pattern of supervisord's [include] that matches this path alone; spaces separate patterns there."""
    return glob.escape(str(path)).replace(" ", "[!!-~]")
