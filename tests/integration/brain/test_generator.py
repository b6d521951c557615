"""The real generator against both stand-ins: BRAIN's and Ollama's."""

import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from standin.brain.faults import BrainFault, BrainFaultKind
from standin.brain.server import StandinBrain, standin_brain
from standin.brain.settings import BrainStandinSettings as BrainSettings
from standin.ollama import StandinOllama, standin
from standin.settings import StandinSettings
from tests.processes.generator import GeneratorProcess, embed, generating

QUICK = BrainSettings(seconds=0.4, retry_after=0.1)
OPEN = "SELECT e.id, e.expression FROM evaluations AS e JOIN simulations USING (digest) WHERE e.state = 'pending'"
PASSWORD = "standin"


@pytest.fixture
def ollama() -> Iterator[StandinOllama]:
    with standin(settings=StandinSettings(pace=0.0)) as server:
        yield server


@pytest.fixture
def brain() -> Iterator[StandinBrain]:
    with standin_brain(QUICK) as server:
        yield server


def account(home: Path, password: str = PASSWORD) -> None:
    path = home / "credential.txt"
    path.write_text(json.dumps(["someone@example.com", password]))
    path.chmod(0o600)


def states(generator: GeneratorProcess) -> dict[str, int]:
    return dict(generator.query("SELECT state, count(*) FROM evaluations GROUP BY state"))


def done(generator: GeneratorProcess, count: int) -> Callable[[], bool]:
    return lambda: states(generator).get("done", 0) >= count


@pytest.mark.slow
def test_with_credentials_it_mines_on_brain(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path)
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        generator.until(done(generator, 12), what="alphas")
        generator.until(lambda: generator.heartbeat().get("brain"), what="the heartbeat")
        code, _ = generator.end(seconds=60.0)
        beat = generator.heartbeat()
    assert code == 0
    assert generator.query("SELECT DISTINCT source FROM evaluations") == [("brain",)]
    assert sorted(brain.world.taken) == sorted(set(brain.world.taken))
    assert not any(path.endswith("/submit") for _, path in brain.requests)
    assert (beat["brain"]["signed_in"], beat["brain"]["slots"]) == (True, 3)
    assert f"requests go to {brain.url} instead of BRAIN" in generator.told
    assert "BRAIN: Sharpe " in generator.told
    rows = generator.query("SELECT alpha_id, sharpe, expression FROM evaluations WHERE state = 'done'")
    for alpha, sharpe, expression in rows:
        assert brain.world.alphas[alpha]["is"]["sharpe"] == sharpe
        assert brain.world.alphas[alpha]["regular"]["code"] == expression
    # A busy machine may leave the file to the next start; the database knows what it lacks.
    kept = generator.query("SELECT expression, alpha_id FROM evaluations WHERE kept")
    published = generator.query("SELECT expression, alpha_id FROM evaluations WHERE published")
    path = tmp_path / "hopeful_alphas.json"
    hopeful = json.loads(path.read_text()) if published or path.exists() else []
    assert set(published) <= {(row["expression"], row["alpha_id"]) for row in hopeful} <= set(kept)


def test_no_secret_is_anywhere_but_in_its_file(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    secret = "pa55-word-nobody-else-has"
    brain.world.settings = BrainSettings(password=secret, seconds=0.2, retry_after=0.1)
    account(tmp_path, secret)
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        generator.until(done(generator, 3), what="alphas")
        shown = Path(f"/proc/{generator.process.pid}/cmdline").read_bytes()
        shown += Path(f"/proc/{generator.process.pid}/environ").read_bytes()
        generator.end(seconds=60.0)
    [token] = json.loads((tmp_path / "run/brain.json").read_text())["cookies"].values()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    holding = {
        path.relative_to(tmp_path).as_posix()
        for path in files
        if secret.encode() in path.read_bytes() or token.encode() in path.read_bytes()
    }
    assert holding == {"credential.txt", "run/brain.json"}
    assert stat.S_IMODE((tmp_path / "run/brain.json").stat().st_mode) == 0o600
    assert secret.encode() not in shown


@pytest.mark.slow
def test_killed_at_any_time_each_simulation_is_paid_for_once_and_each_result_stored_once(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path)
    for number in range(1, 7):
        with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as killed:
            target = 3 * number
            killed.until(lambda: len(brain.world.taken) >= target, what="simulations")  # noqa: B023
            killed.end(signal.SIGKILL, seconds=60.0)
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        # A request that a kill kept from leaving is looked for on BRAIN for twenty minutes before it is sent again.
        left = {row for row in generator.query(OPEN) if row[1] in brain.world.taken}
        generator.until(lambda: not left & set(generator.query(OPEN)), what="what was on its way")
        generator.end(seconds=60.0)
    assert len(brain.world.taken) == len(set(brain.world.taken))
    assert generator.query("SELECT digest FROM evaluations GROUP BY digest HAVING count(*) > 1") == []
    assert generator.query("SELECT digest FROM simulations GROUP BY digest HAVING count(*) > 1") == []
    lines = [line for line in generator.log.splitlines() if " evaluation.done" in line]
    reported = [int(line.split(" id=")[1].split()[0]) for line in lines]
    assert len(reported) == len(set(reported))
    assert {row[0] for row in generator.query("SELECT id FROM evaluations WHERE state = 'done'")} >= set(
        reported
    )
    assert "resuming" in generator.told
    assert brain.world.sign_ins == 1


@pytest.mark.slow
def test_killed_before_it_saw_the_answer_it_finds_its_simulation_again(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path)
    brain.apply(
        BrainFault(BrainFaultKind.STALL, method="POST", path="/simulations", times=None, seconds=60.0)
    )
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as killed:
        killed.until(lambda: brain.world.taken, what="a simulation")
        killed.end(signal.SIGKILL, seconds=60.0)
    sent = killed.query("SELECT state, location FROM simulations WHERE state != 'queued'")
    assert sent == [("sending", None)]
    brain.board.clear()
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        generator.until(done(generator, 4), what="alphas")
        generator.end(seconds=60.0)
    assert len(brain.world.taken) == len(set(brain.world.taken))
    assert generator.query("SELECT state FROM simulations ORDER BY id LIMIT 1") == [("ended",)]


@pytest.mark.slow
def test_with_faults_injected_it_goes_on_and_sends_nothing_twice(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path)
    faults = [
        BrainFault(BrainFaultKind.ERROR, path="/simulations/", status=500),
        BrainFault(BrainFaultKind.HTML, path="/simulations/", status=502),
        BrainFault(
            BrainFaultKind.ERROR,
            method="POST",
            path="/simulations",
            status=429,
            text="slow down",
            retry_after="0.3",
        ),
        BrainFault(BrainFaultKind.EXPIRE, path="/simulations"),
        BrainFault(BrainFaultKind.REFUSE, path="/alphas/"),
        BrainFault(BrainFaultKind.LOSE, method="POST", path="/simulations"),
        BrainFault(BrainFaultKind.OUTCOME, status_text="WARNING", text="Incompatible unit"),
        BrainFault(BrainFaultKind.BLANK, times=2),
        BrainFault(BrainFaultKind.OUTCOME, status_text="ERROR", text="Division by nothing"),
    ]
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        for fault in faults:
            brain.apply(fault)
            generator.until(lambda: not brain.board.left, what=f"a meeting with {fault}")
            more = states(generator).get("done", 0) + 4
            generator.until(done(generator, more), what=f"alphas after {fault}")
        generator.end(seconds=60.0)
    assert len(brain.world.taken) == len(set(brain.world.taken))
    assert "Traceback" not in generator.log + generator.told
    assert generator.query("SELECT error FROM evaluations WHERE state = 'failed'") == [
        ("Division by nothing",)
    ]


@pytest.mark.slow
def test_brains_own_message_is_given_back_to_the_model(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path)
    brain.world._operators = frozenset()
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        said = "Attempted to use inaccessible or unknown operator"
        generator.until(
            lambda: generator.count("calls", f"prompt LIKE '%{said}%'") >= 1, what="the message in a prompt"
        )
        generator.end(seconds=60.0)
    assert generator.count("evaluations", "state = 'failed'") >= 1


def test_what_brain_lists_is_kept_and_used_from_then_on(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path)
    brain.world.fields = [
        row for row in brain.world.fields if row["id"] in {"close", "open", "volume", "sector"}
    ]
    path = tmp_path / "catalogue-USA-D1-TOP3000.json"
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as first:
        first.until(path.exists, what="the list")
        first.end(seconds=60.0)
    assert "BRAIN lists 66 operators and 4 fields" in first.told
    asked = brain.requests.count(("GET", "/data-fields"))
    before = first.count("calls")
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        generator.until(lambda: generator.count("calls") >= before + 5, what="calls")
        generator.end(seconds=60.0)
    prompts = generator.query("SELECT prompt FROM calls ORDER BY started DESC LIMIT 3")
    assert all("cashflow" not in prompt for (prompt,) in prompts)
    assert brain.requests.count(("GET", "/data-fields")) == asked


@pytest.mark.slow
@pytest.mark.parametrize("evaluator", ["auto", "brain", "screen"])
def test_a_stand_in_fleet_sends_nothing_to_brain_whatever_credentials_lie_about(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain, evaluator: str
) -> None:
    embed(tmp_path, ollama.url)
    account(tmp_path)
    environ = {"FLEET_BRAIN_EMAIL": "someone@example.com", "FLEET_BRAIN_PASSWORD": PASSWORD}
    with generating(
        tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url, FLEET_GENERATOR_EVALUATOR=evaluator, **environ
    ) as generator:
        generator.until(done(generator, 2), what="alphas", seconds=120.0)
        generator.end(seconds=60.0)
    assert generator.query("SELECT DISTINCT source FROM evaluations") == [("stand-in",)]
    assert brain.requests == []
    assert ("a stand-in fleet sends nothing to BRAIN" in generator.told) is (evaluator != "auto")
    assert not (tmp_path / "hopeful_alphas.json").exists()


@pytest.mark.parametrize(
    ("evaluator", "said"), [("brain", "BRAIN needs credentials"), ("screen", "needs a panel of your own")]
)
def test_an_evaluator_that_cannot_be_is_a_configuration_error(
    tmp_path: Path, brain: StandinBrain, evaluator: str, said: str
) -> None:
    if evaluator == "screen":
        account(tmp_path)
    with generating(
        tmp_path, "http://127.0.0.1:9", FLEET_BRAIN_URL=brain.url, FLEET_GENERATOR_EVALUATOR=evaluator
    ) as generator:
        assert generator.process.wait(30) == 2
    assert said in generator.told
    assert "Traceback" not in generator.told
    assert brain.requests == []


@pytest.mark.slow
def test_a_brain_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path)
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        generator.until(done(generator, 1), what="an alpha")
        brain.apply(BrainFault(BrainFaultKind.STALL, path="/", times=None, seconds=120.0))
        before = len(brain.requests)
        generator.until(lambda: len(brain.requests) > before, what="a request that hangs")
        code, _ = generator.end(seconds=60.0)
    assert code == 0


@pytest.mark.slow
def test_a_wrong_password_is_sent_once_over_many_starts_and_mining_goes_on_once_it_is_right(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path, "wrong-one")
    for _ in range(3):
        with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
            generator.until(lambda: "BRAIN refuses the credentials" in generator.told, what="the refusal")
            generator.until(lambda: generator.count("evaluations") >= 2, what="candidates")
            generator.end(seconds=60.0)
    assert brain.world.wrong == 1
    assert "wrong-one" not in generator.log + generator.told
    account(tmp_path)
    os.utime(tmp_path / "credential.txt")
    with generating(tmp_path, ollama.url, FLEET_BRAIN_URL=brain.url) as generator:
        generator.until(done(generator, 2), what="alphas")
        generator.end(seconds=60.0)


@pytest.mark.slow
def test_the_day_s_budget_holds_across_restarts(
    tmp_path: Path, ollama: StandinOllama, brain: StandinBrain
) -> None:
    account(tmp_path)
    environ: dict[str, Any] = {"FLEET_BRAIN_URL": brain.url, "FLEET_BRAIN_MAX_SIMULATIONS_PER_DAY": "5"}
    for _ in range(2):
        with generating(tmp_path, ollama.url, **environ) as generator:
            generator.until(
                lambda: "budget of BRAIN simulations is used up" in generator.told, what="the end"
            )
            generator.until(lambda: states(generator).get("done", 0) == 5, what="what was sent")
            generator.end(seconds=60.0)
    assert len(brain.world.taken) == 5
