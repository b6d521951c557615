"""The error tree.

    FleetError                 exit code 1
    ├── ConfigError            2   the configuration or the command line is wrong
    ├── NoFleetError           2   there is no fleet in this home
    ├── StateError             1   the state file could not be read or written
    ├── OllamaError            1   Ollama answered with an error
    │   ├── OllamaAwayError        it could not be reached, or the connection ended in mid-answer
    │   └── OllamaTimeoutError     it accepted the request and did not answer in time
    ├── SupervisorError        1   supervisord refused a call
    │   └── SupervisorAwayError    it could not be reached, or did not answer in time
    ├── SourceError            1   a log source cannot be followed
    ├── SwitchError            1   a switch could not be done
    └── GeneratorError         1   the generator cannot work

Every message names what failed and the path, model or program; every hint names the next step.
"""


class FleetError(Exception):
    """A failure that is reported in one sentence, with a hint to its remedy."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(FleetError):
    """The configuration or the command line is wrong; nothing was started."""

    exit_code = 2


class NoFleetError(FleetError):
    """There is no fleet in this home."""

    exit_code = 2


class StateError(FleetError):
    """The state file could not be locked, read or written."""


class OllamaError(FleetError):
    """Ollama answered with an error; `status` is the HTTP status (200 for one in mid-stream)."""

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class OllamaAwayError(OllamaError):
    """Ollama could not be reached, or the connection ended in mid-answer."""


class OllamaTimeoutError(OllamaError):
    """Ollama accepted the request and did not answer in time."""


class SupervisorError(FleetError):
    """supervisord refused a call; `fault` is its XML-RPC fault code, 0 when there was none."""

    def __init__(self, message: str, *, fault: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fault = fault


class SupervisorAwayError(SupervisorError):
    """supervisord could not be reached on its socket, or did not answer in time."""


class SourceError(FleetError):
    """A log source cannot be followed as it is configured."""


class SwitchError(FleetError):
    """A switch cannot be done; the state stays as it was."""


class GeneratorError(FleetError):
    """The generator cannot work as it was started."""
