from fleet.config.schema import BrainSettings, PanelSettings
from generator.brain.api import payload, same_code, same_settings, simulation_settings


def test_settings_fall_back_on_the_panels() -> None:
    panel = PanelSettings(delay=0, decay=4, neutralization="sector", truncation=0.05)
    assert simulation_settings(BrainSettings(), panel) == {
        "instrumentType": "EQUITY",
        "region": "USA",
        "universe": "TOP3000",
        "delay": 0,
        "decay": 4,
        "neutralization": "SECTOR",
        "truncation": 0.05,
        "pasteurization": "ON",
        "unitHandling": "VERIFY",
        "nanHandling": "OFF",
        "language": "FASTEXPR",
        "visualization": False,
    }
    own = BrainSettings(delay=1, decay=0, neutralization="crowding", truncation=0.0, universe="TOP200")
    found = simulation_settings(own, panel)
    assert (found["delay"], found["decay"], found["neutralization"], found["truncation"]) == (
        1,
        0,
        "CROWDING",
        0.0,
    )
    assert found["universe"] == "TOP200"


def test_a_requests_body() -> None:
    assert payload("rank(close)", {"delay": 1}) == {
        "type": "REGULAR",
        "settings": {"delay": 1},
        "regular": "rank(close)",
    }


def test_the_same_expression_and_settings_are_recognised() -> None:
    assert same_code("rank( close );\n", "rank(close)")
    assert not same_code("rank(close)", "rank(open)")
    assert same_settings({"delay": 1, "maxTrade": "OFF"}, {"delay": 1, "region": "USA"})
    assert not same_settings({"delay": 0}, {"delay": 1})
