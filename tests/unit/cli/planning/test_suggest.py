"""`ladder --suggest`: a ladder for a card that our own loader takes, and that fits."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cli.planning.memory import KnownMemory, gpu_memory
from cli.planning.suggest import (
    ModelOption,
    Suggestion,
    candidates_of,
    suggest,
    suggestion_row,
    suggestion_toml,
    table,
)
from fleet.clients.gpu import Card
from fleet.clients.ollama import LocalModel, ModelDetails
from fleet.config.load import load_settings
from fleet.config.schema import SEED_LADDER
from fleet.policy.state import FleetState
from fleet.runtime.errors import FleetError, OllamaAwayError, OllamaError
from fleet.runtime.home import ROOT, Home
from fleet.runtime.units import GIGABYTE, MEGABYTE
from fleet.startup.card import wasted_card
from fleet_cli import main
from state.codec import default_state
from state.store import StateStore

CARDS = (4, 6, 8, 12, 24)


def of(gigabytes: float, candidates: list[ModelOption] | None = None) -> Suggestion:
    memory = KnownMemory(round(gigabytes * GIGABYTE), "a test")
    return suggest(memory, table() if candidates is None else candidates)


def pasted(text: str, folder: Path) -> Any:
    path = folder / "fleet.toml"
    path.write_text(text + "\n", "utf-8")
    return load_settings(path, {}).ladder


@pytest.mark.parametrize("gigabytes", CARDS)
def test_a_suggestion_can_be_pasted_and_every_rung_fits(gigabytes: int, tmp_path: Path) -> None:
    found = of(gigabytes)
    ladder = pasted(suggestion_toml(found), tmp_path)
    assert [rung.model for rung in ladder] == [rung.model for rung in found.rungs]
    assert [rung.options["num_ctx"] for rung in ladder] == [rung.context for rung in found.rungs]
    assert len(found.rungs) >= 4
    for rung in found.rungs:
        assert rung.need == rung.weights + rung.cache
        assert rung.free == found.memory - rung.need >= found.buffers
        assert rung.cache > 0


@pytest.mark.parametrize("gigabytes", CARDS)
def test_each_rung_is_a_real_step_down(gigabytes: int) -> None:
    needs = [rung.need for rung in of(gigabytes).rungs]
    assert all(below <= 0.7 * above for above, below in pairwise(needs))


def test_a_larger_card_gets_a_larger_model() -> None:
    tops = [of(gigabytes).rungs[0].weights for gigabytes in CARDS]
    assert tops == sorted(tops)
    assert tops[0] < tops[-1]
    assert of(24).rungs[0].weights > 12 * GIGABYTE


def test_the_table_gives_what_a_known_model_needs() -> None:
    """llama3.1:8b: 2 · 32 layers · 8 heads · 128 · 2 bytes are 128 KB a token."""
    (model,) = [one for one in table() if one.name == "llama3.1:8b"]
    assert model.cache(4096) == 512 * MEGABYTE
    assert all(one.cache(4096) for one in table())


def test_no_context_is_longer_than_the_model_s_own() -> None:
    (model,) = [one for one in table() if one.name == "tinyllama:1.1b"]
    assert model.context(8192) == 2048


def test_a_card_for_nothing_is_an_error_with_a_way_out() -> None:
    with pytest.raises(FleetError, match="no known model fits into 307 MB"):
        of(0.3)


INFO = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.embedding_length": 4096,
    "llama.context_length": 131072,
}


class Ollama:
    """What is used of a client: its models, and some that cannot be shown."""

    def __init__(self, *models: tuple[str, int], info: dict[str, Any] | None = None) -> None:
        self._models = models
        self._info = INFO if info is None else info

    def tags(self) -> list[LocalModel]:
        return [LocalModel(name, size) for name, size in self._models]

    def show(self, model: str) -> ModelDetails:
        if model.startswith("broken"):
            raise OllamaError("no such model", status=404)
        return ModelDetails(None, self._info)


def with_ollama(*models: tuple[str, int], info: dict[str, Any] | None = None) -> list[ModelOption]:
    return candidates_of(Ollama(*models, info=info))  # type: ignore[arg-type]  # as much of it as is used


def test_a_model_that_ollama_has_is_preferred_to_a_slightly_larger_one() -> None:
    found = of(8, with_ollama(("mine:7b", 4 * GIGABYTE)))
    assert (found.rungs[0].model, found.rungs[0].present) == ("mine:7b", True)
    assert not found.rungs[1].present
    far = of(24, with_ollama(("mine:7b", 4 * GIGABYTE)))
    assert far.rungs[0].model == "qwen2.5:32b"


def test_what_ollama_has_counts_by_ollama_s_own_figures() -> None:
    (mine,) = [one for one in with_ollama(("library/llama3.1:8b", 5 * GIGABYTE)) if "3.1:8b" in one.name]
    assert (mine.weights, mine.present) == (5 * GIGABYTE, True)


@pytest.mark.parametrize(
    "models",
    [[("broken:7b", 4 * GIGABYTE)], [("huge:120b-cloud", 384)]],
    ids=["cannot be shown", "in the cloud"],
)
def test_what_is_no_model_here_is_left_out(models: list[tuple[str, int]]) -> None:
    assert with_ollama(*models) == table()


@pytest.mark.parametrize("info", [{}, {"general.architecture": "nomic-bert"}, {"general.architecture": 7}])
def test_models_of_unknown_need_are_not_suggested(info: dict[str, Any]) -> None:
    found = of(8, with_ollama(("odd:7b", 4 * GIGABYTE), info=info))
    assert "odd:7b" not in [rung.model for rung in found.rungs]


def test_without_ollama_the_table_is_enough() -> None:
    class Away(Ollama):
        def tags(self) -> list[LocalModel]:
            raise OllamaAwayError("no answer")

    assert candidates_of(Away()) == candidates_of(None) == table()  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30))
def test_any_name_is_quoted(name: str) -> None:
    import tomllib  # noqa: PLC0415

    text = suggestion_toml(of(8, [ModelOption(name, 4 * GIGABYTE, INFO, present=True)]))
    assert [row["model"] for row in tomllib.loads(text)["ladder"]] == [name]


# The memory


def no_cards() -> None:
    return None


def test_the_memory_is_the_cards(tmp_path: Path) -> None:
    cards = [Card("RTX 3060", 0, 12 * GIGABYTE), Card("RTX 3090\n", 0, 24 * GIGABYTE)]
    assert gpu_memory(Home(tmp_path), lambda: cards) == KnownMemory(36 * GIGABYTE, "RTX 3060, RTX 3090 ")


@pytest.mark.parametrize("fails", [False, True])
def test_else_it_is_what_ollama_s_log_said(tmp_path: Path, fails: bool) -> None:
    def ask() -> None:
        if fails:
            raise FleetError("nvidia-smi fails")

    home = Home(tmp_path)
    with pytest.raises(FleetError, match="not known: "):
        gpu_memory(home, ask)
    home.create()

    def seen(state: FleetState) -> FleetState:
        return replace(state, watch={**state.watch, "gpu_total": 8 * GIGABYTE})

    StateStore(home, SEED_LADDER).update(seen)
    assert gpu_memory(home, ask).total == 8 * GIGABYTE


def test_a_card_without_figures_is_not_called_a_missing_tool(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="lists no GPU with figures"):
        gpu_memory(Home(tmp_path), list)


def test_a_default_ladder_far_below_the_card_is_reported() -> None:
    assert wasted_card(SEED_LADDER, 24 * GIGABYTE).startswith("the GPU has 24.0 GB")
    assert wasted_card(SEED_LADDER, 4 * GIGABYTE) == ""
    assert wasted_card(SEED_LADDER, 0) == ""
    assert default_state(SEED_LADDER, 0.0).current_model == SEED_LADDER[0].model


def test_a_ladder_of_one_s_own_is_not(tmp_path: Path) -> None:
    assert wasted_card(pasted(suggestion_toml(of(4)), tmp_path), 24 * GIGABYTE) == ""


# The command


def run(*arguments: str, home: Path) -> Result:
    environ = {"FLEET_HOME": str(home), "OLLAMA_HOST": "127.0.0.1:9", "PATH": ""}
    return CliRunner().invoke(main, ["ladder", *arguments], env=environ)


@pytest.mark.parametrize("gigabytes", CARDS)
def test_the_command_prints_a_ladder(gigabytes: int, tmp_path: Path) -> None:
    result = run("--suggest", "--vram", f"{gigabytes}GB", home=tmp_path / "none")
    assert result.exit_code == 0
    assert pasted(result.stdout, tmp_path)[0].model == of(gigabytes).rungs[0].model
    assert not (tmp_path / "none").exists()


def test_its_json_has_the_figures_of_each_rung(tmp_path: Path) -> None:
    schema = Draft202012Validator(json.loads((ROOT / "docs" / "schema" / "ladder.json").read_text()))
    row = json.loads(run("--suggest", "--vram", "8 GB", "--json", home=tmp_path).stdout)
    schema.validate(row)
    assert row["rungs"] == json.loads(json.dumps(suggestion_row(of(8))))["rungs"]
    schema.validate(json.loads(run("--json", home=tmp_path).stdout))


def test_the_ladder_in_force_is_shown(tmp_path: Path) -> None:
    lines = run(home=tmp_path).stdout.splitlines()
    assert lines[0] == "0  llama3.2:3b: 2.0 GB of weights; threshold 3"
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--suggest"], 1, "--vram 8GB"),
        (["--suggest", "--vram", "300MB"], 1, "no known model fits"),
        (["--suggest", "--vram", "lots"], 2, "is no size"),
        (["--suggest", "--vram", "0GB"], 2, "is no size"),
        (["--suggest", "--vram", "-8GB"], 2, "is no size"),
    ],
)
def test_what_cannot_be_done(arguments: list[str], code: int, text: str, tmp_path: Path) -> None:
    result = run(*arguments, home=tmp_path)
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr


def test_a_reserve_stays_free_on_every_rung() -> None:
    memory = KnownMemory(8 * GIGABYTE, "a test")
    found = suggest(memory, table(), reserve=4 * GIGABYTE)
    assert found.buffers == of(8).buffers + 4 * GIGABYTE
    assert all(rung.free >= found.buffers for rung in found.rungs)
    assert found.rungs[0].need < of(8).rungs[0].need
