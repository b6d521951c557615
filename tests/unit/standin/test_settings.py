import pytest

from fleet.runtime.errors import ConfigError
from standin.faults import Fault, FaultKind
from standin.models.specs import canonical
from standin.serving.pulls import address_of
from standin.settings import Era, StandinSettings, model_name, settings_from


def test_an_empty_environment_gives_the_defaults() -> None:
    assert settings_from({"FLEET_STANDIN_VRAM": "", "HOME": "/"}) == StandinSettings()


def test_every_variable_is_read() -> None:
    settings = settings_from(
        {
            "FLEET_STANDIN_VRAM": "2.5 GB",
            "FLEET_STANDIN_SPILL": "1",
            "FLEET_STANDIN_ERA": "old",
            "FLEET_STANDIN_MISSING": "phi3:mini, Own",
            "FLEET_STANDIN_THINKING": "Phi3:mini,own",
            "FLEET_STANDIN_PACE": "0.5",
            "FLEET_STANDIN_PARALLEL": "2",
            "FLEET_STANDIN_RECOVERY": "0",
            "FLEET_STANDIN_SEED": "-7",
            "FLEET_STANDIN_FAULTS": '[{"kind": "die", "skip": 5}]',
        }
    )
    assert settings == StandinSettings(
        vram=2684354560,
        spill=True,
        era=Era.OLD,
        missing=frozenset({"phi3:mini", "own:latest"}),
        thinking=frozenset({"phi3:mini", "own:latest"}),
        pace=0.5,
        parallel=2,
        recovery=0.0,
        seed=-7,
        faults=(Fault(FaultKind.DIE, skip=5),),
    )


def test_away_is_no_fault_for_a_whole_run() -> None:
    with pytest.raises(ConfigError, match="away happens at once"):
        settings_from({"FLEET_STANDIN_FAULTS": '{"kind": "away"}'})


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = {
        "VRAM": "lots",
        "SPILL": "maybe",
        "ERA": "middle",
        "MISSING": "../etc/passwd",
        "THINKING": "a b",
        "PACE": "-1",
        "PARALLEL": "0",
        "RECOVERY": "inf",
        "SEED": "x",
        "FAULTS": "{",
    }
    with pytest.raises(ConfigError) as caught:
        settings_from({f"FLEET_STANDIN_{name}": value for name, value in wrong.items()})
    for name, value in wrong.items():
        assert f"FLEET_STANDIN_{name}={value!r}: " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "filed"),
    [
        ("qwen2.5:0.5b", "qwen2.5:0.5b"),
        ("Llama3.2", "llama3.2:latest"),
        ("library/phi3:mini", "phi3:mini"),
        ("registry.example/fleet/phi3:mini", "fleet/phi3:mini"),
        ("https://registry.example/library/phi3", "phi3:latest"),
        ("registry.ollama.ai/library/phi3:mini", "phi3:mini"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
    ],
)
def test_names_are_filed_in_one_form(name: str, filed: str) -> None:
    assert canonical(name) == filed


@pytest.mark.parametrize("name", ["", "bad name!", "../x", "a" * 200, "/a", "a//b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        model_name(name)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("tinyllama:1.1b", "https://registry.example/v2/library/tinyllama/manifests/1.1b"),
        ("fleet/phi3:mini", "https://registry.example/v2/fleet/phi3/manifests/mini"),
        ("own.example:5000/a/b:c", "https://own.example:5000/v2/a/b/manifests/c"),
    ],
)
def test_a_manifests_address(name: str, url: str) -> None:
    assert address_of(name, insecure=False).url == url
    assert address_of(name, insecure=True).url == url.replace("https:", "http:")
