"""An API error and the log report one failure in either order, and at any point between its lines."""

import pytest

from monitor.detection.detector import Detector
from monitor.incidents.grouper import advance
from monitor.incidents.messages import FailedCall, GroupingRules, IncidentFound, Line
from monitor.incidents.state import GroupState

BLOB = "/root/.ollama/models/blobs/sha256-bc9803a56628028129feb7c24d323c894541590df3683c80dc650b866ac9820b"
ERROR = (
    "llama-server process has terminated: exit status 1: alloc_tensor_range: failed to allocate Vulkan0 "
    "buffer of size 336674816\nerror loading model: unable to allocate Vulkan0 buffer"
)
BEGUN = 1795477492.254


def load_failure(second: int) -> list[str]:
    stamp = f"2026-11-23T23:44:{second:02d}"
    command = f"/usr/lib/ollama/llama-server --model {BLOB} --port 40741"
    server = f"time={stamp}.346Z level=ERROR source=llama_server.go:1023"
    failed = f'time={stamp}.505Z level=INFO source=sched.go:641 msg="Load failed" model={BLOB}'
    return [
        f'time={stamp}.254Z level=INFO source=llama_server.go:433 msg="starting llama-server" cmd="{command}"',
        "ggml_vulkan: Device memory allocation of size 336674816 failed.",
        "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "alloc_tensor_range: failed to allocate Vulkan0 buffer of size 336674816",
        "llama_model_load: error loading model: unable to allocate Vulkan0 buffer",
        f'{server} msg="llama-server terminated" error="exit status 1" exit=1',
        f'{failed} error="alloc_tensor_range: failed to allocate Vulkan0 buffer of size 336674816"',
        f'[GIN] 2026/11/23 - 23:44:{second:02d} | 500 |  406.037554ms | 127.0.0.1 | POST     "/api/generate"',
    ]


@pytest.mark.parametrize("position", range(9))
def test_an_api_error_is_one_incident_with_its_log_lines_wherever_it_is_read(position: int) -> None:
    detector, rules, state = Detector(), GroupingRules(model="llama3.2:3b"), GroupState()
    found = []
    for number, second in enumerate((52, 58), start=1):
        started = BEGUN + (second - 52)
        error = FailedCall(f"call-{number}", started - 0.01, started + 0.3, "llama3.2:3b", 500, ERROR)
        seen: list[Line | FailedCall] = [Line(line) for line in load_failure(second)]
        seen.insert(position, error)
        for observation in seen:
            state, outcomes = advance(state, observation, rules, detector)
            found += [outcome for outcome in outcomes if isinstance(outcome, IncidentFound)]
    assert [one.incident.counts for one in found] == [True, True]
