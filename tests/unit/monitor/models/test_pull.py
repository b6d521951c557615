"""Following a pull: its progress, when it stands still, and when it is cut or refused."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.clients.http import Cancel
from fleet.clients.ollama import Ollama, PullProgress
from fleet.runtime.clock import SystemClock
from fleet.runtime.errors import OllamaError, OllamaTimeoutError
from fleet.runtime.home import Home
from fleet.runtime.pull_progress import read_pull
from fleet.runtime.units import GIGABYTE, MEGABYTE
from monitor.models.disk_space import RESERVE, disk_check, models_folder
from monitor.models.pull import PullWatch, pull_failure, pull_model
from standin.faults import Fault, FaultKind
from standin.ollama import standin
from standin.settings import StandinSettings
from tests.processes.fleet import eventually

MISSING = StandinSettings(missing=frozenset({"phi3:mini"}), pace=0.0)


def layer(done: int, total: int = 100 * MEGABYTE, digest: str = "a") -> PullProgress:
    return PullProgress(f"pulling {digest}", digest, done, total)


def test_progress_has_bytes_rate_and_time_left() -> None:
    watch = PullWatch(started=0.0)
    watch.see(layer(0), 0.0)
    watch.see(layer(20 * MEGABYTE), 10.0)
    assert watch.line(10.0) == "20 MB of 100 MB, 2 MB/s, 40s left"


def test_what_an_earlier_pull_had_left_is_no_speed() -> None:
    watch = PullWatch(started=0.0)
    watch.see(layer(90 * MEGABYTE), 0.1)
    watch.see(layer(95 * MEGABYTE), 5.0)
    assert watch.rate(5.0) == pytest.approx(1 * MEGABYTE)


def test_the_same_line_again_and_again_is_a_stall_and_not_life() -> None:
    watch = PullWatch(started=0.0, stall=90.0)
    watch.see(layer(50), 1.0)
    for tick in range(1500):
        watch.see(layer(50), 1.0 + 0.06 * tick)
    with pytest.raises(OllamaTimeoutError, match="nothing has come for"):
        watch.see(layer(50), 91.1)


def test_a_part_that_is_fetched_again_is_no_movement_and_no_negative_rate() -> None:
    """After a stall Ollama begins a part anew and reports fewer bytes; two layers' lines alternate."""
    watch = PullWatch(started=0.0, stall=90.0)
    watch.see(layer(50 * MEGABYTE), 1.0)
    for tick in range(85):
        done = (50 - tick % 3) * MEGABYTE
        watch.see(layer(done), 2.0 + tick)
        watch.see(layer(7, digest="b"), 2.0 + tick)
        assert watch.rate(2.0 + tick) >= 0
    assert watch.line(86.0).endswith("stands still for 1m 24s")
    with pytest.raises(OllamaTimeoutError):
        watch.see(layer(50 * MEGABYTE), 92.1)


def test_a_pull_that_went_well_before_it_stopped_stands_still() -> None:
    watch = PullWatch(started=0.0)
    for second in range(60):
        watch.see(layer(second * MEGABYTE), float(second))
    assert "1 MB/s" in watch.line(59.0)
    for second in range(60, 75):
        watch.see(layer(59 * MEGABYTE), float(second))
    assert watch.line(74.0) == "59 MB of 100 MB, stands still for 15s"


def test_the_reason_of_a_failure_carries_its_hint() -> None:
    assert pull_failure(OllamaError("nothing has come", hint="Look at the network.")) == (
        "nothing has come (Look at the network)"
    )
    assert pull_failure(OllamaError("refused")) == "refused"


def test_a_slow_pull_is_none_however_long_it_takes() -> None:
    watch = PullWatch(started=0.0, stall=90.0)
    for hour in range(48):
        for minute in range(60):
            watch.see(layer(60 * hour + minute), 3600.0 * hour + 60.0 * minute)
    assert watch.done == 48 * 60 - 1


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (FaultKind.PULL_REFUSED, "connection refused"),
        (FaultKind.PULL_NO_NETWORK, "no such host"),
        (FaultKind.PULL_DISK_FULL, "no space left on device"),
        (FaultKind.PULL_DIES, "max retries exceeded"),
        (FaultKind.PULL_BREAKS, "ended in mid-response|broke off"),
        (FaultKind.PULL_STALL, "nothing has come for"),
    ],
)
def test_a_pull_that_fails_says_why_and_the_next_one_goes_on(kind: FaultKind, says: str) -> None:
    with standin(settings=MISSING) as server:
        seconds = 0.2 if kind is FaultKind.PULL_DIES else None
        server.apply(Fault(kind, times=1, share=0.5, seconds=seconds))
        client = Ollama(server.url)
        with pytest.raises(OllamaError, match=says):
            pull_model(client, "phi3:mini", SystemClock(), cancel=Cancel(), stall=0.5)
        server.clear()
        begun: list[int] = []

        def note(watch: PullWatch) -> None:
            if watch.found:
                begun.append(next(iter(watch.found.values())))

        assert pull_model(client, "phi3:mini", SystemClock(), cancel=Cancel(), bar=note)
        assert any(model.name == "phi3:mini" for model in client.tags())
        if kind not in {FaultKind.PULL_REFUSED, FaultKind.PULL_NO_NETWORK}:
            assert begun[0] > 1000 * MEGABYTE, "it resumes where the other one stood"


def test_an_unknown_model_fails_inside_http_200() -> None:
    with standin(settings=MISSING) as server, pytest.raises(OllamaError) as caught:
        pull_model(Ollama(server.url), "no-such:1b", SystemClock(), cancel=Cancel())
    assert caught.value.status == 200
    assert "file does not exist" in caught.value.message


def test_a_cut_drops_it_without_an_error() -> None:
    with standin(settings=MISSING) as server:
        server.apply(Fault(FaultKind.PULL_STALL, share=0.5))
        cancel = Cancel()
        threading.Timer(0.3, cancel).start()
        assert not pull_model(Ollama(server.url), "phi3:mini", SystemClock(), cancel=cancel)


def test_without_room_it_is_refused_before_it_begins_and_as_its_size_shows() -> None:
    with standin(settings=MISSING) as server:
        client, asked = Ollama(server.url), list[int]()

        def lacks(over: int) -> Callable[[int], str]:
            return lambda needed: asked.append(needed) or ("no room" if needed > over else "")

        with pytest.raises(OllamaError, match="no room") as caught:
            pull_model(
                client, "phi3:mini", SystemClock(), cancel=Cancel(), disk=lacks(GIGABYTE), size=3 * GIGABYTE
            )
        assert "deletes nothing" in caught.value.hint
        assert asked == [3 * GIGABYTE]
        with pytest.raises(OllamaError, match="no room"):
            pull_model(client, "phi3:mini", SystemClock(), cancel=Cancel(), disk=lacks(GIGABYTE))
        assert asked[1] == 0
        assert asked[-1] > 2 * GIGABYTE


def test_the_disk_is_seen_only_where_ollama_is_a_service_of_this_host(tmp_path: Path) -> None:
    (tmp_path / ".ollama/models").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    here, named = {"HOME": str(tmp_path)}, {"OLLAMA_MODELS": str(tmp_path / "elsewhere")}
    assert models_folder("native", "http://127.0.0.1:11434", here) == tmp_path / ".ollama/models"
    assert models_folder("native", "http://localhost:11434", {**here, **named}) == tmp_path / "elsewhere"
    assert models_folder("native", "http://gpu-box:11434", here) is None
    assert models_folder("docker", "http://127.0.0.1:11434", here) is None
    unreadable = {
        "OLLAMA_MODELS": f"/{'x' * 300}/models"
    }  # an error as of a closed folder, which root has not
    assert models_folder("native", "http://127.0.0.1:11434", unreadable) is None


def test_a_reserve_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = disk_check(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3 * GIGABYTE})())
    assert room(3 * GIGABYTE - RESERVE) == ""
    assert "3.0 GB are free" in room(3 * GIGABYTE - RESERVE + 1)
    assert disk_check(None)(10**15) == ""
    assert disk_check(tmp_path / "gone")(10**15) != ""


def test_a_pull_that_stalls_is_shown_while_it_lasts_and_then_no_more(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with standin(settings=MISSING) as server:
        server.apply(Fault(FaultKind.PULL_STALL, share=0.5))
        cancel = Cancel()
        pulling = threading.Thread(
            target=pull_model,
            args=(Ollama(server.url), "phi3:mini", SystemClock()),
            kwargs={"cancel": cancel, "home": home},
        )
        pulling.start()
        shown = eventually(lambda: (row := read_pull(home, time.time())) and row.completed_bytes and row)
        assert shown.model == "phi3:mini"
        assert shown.total_bytes > shown.completed_bytes > 1000 * MEGABYTE
        cancel()
        pulling.join(10)
    assert read_pull(home, time.time()) is None
