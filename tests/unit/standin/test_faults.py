import pytest

from standin.active_faults import FaultBoard
from standin.faults import AddModel, Fault, FaultKind, RemoveModel, SetSpill, SetVram, parse, parse_faults


def test_reads_faults_and_changes() -> None:
    assert parse(
        [
            {"kind": "die", "after": 2, "times": 1, "model": "a:b"},
            {"kind": "vram", "size": "1 GB"},
            {"kind": "vram", "size": 512},
            {"kind": "spill", "on": True},
            {"kind": "add_model", "model": "a:b"},
            {"kind": "remove_model", "model": "a:b"},
        ]
    ) == [
        Fault(FaultKind.DIE, after=2, times=1, model="a:b"),
        SetVram(1024**3),
        SetVram(512),
        SetSpill(on=True),
        AddModel("a:b", None),
        RemoveModel("a:b"),
    ]


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_kind_can_be_asked_for_by_name_alone(kind: FaultKind) -> None:
    assert parse_faults({"kind": kind.value}) == [Fault(kind)]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("die", "an object with a kind"),
        ({}, "kind None is not known"),
        ({"kind": []}, "is not known"),
        ({"kind": "die", "after": -1}, "fault 1 (die): after=-1: a whole number from 0"),
        ({"kind": "die", "times": 0}, "times=0"),
        ({"kind": "die", "times": True}, "times=True"),
        ({"kind": "stall", "after": 1}, "there is no key 'after'; times, skip, model, path are known"),
        ([{"kind": "stall"}, {"kind": "rubbish", "what": "x"}], "fault 2 (rubbish): what='x': text, cut"),
        ({"kind": "error", "status": 200}, "from 400 to 599"),
        ({"kind": "pull_stall", "share": 2}, "a number from 0 to 1"),
        ({"kind": "vram", "size": "much"}, "not a size"),
        ({"kind": "spill", "on": 1}, "true or false"),
        ({"kind": "slow", "each": float("nan")}, "a number from 0"),
    ],
)
def test_a_bad_fault_says_which_key_and_what_is_allowed(document: object, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(document)
    assert words in str(caught.value)


def test_changes_are_no_faults_for_a_whole_run() -> None:
    with pytest.raises(ValueError, match="only faults"):
        parse_faults({"kind": "vram", "size": "1 GB"})


def test_a_fault_happens_as_often_as_told() -> None:
    board = FaultBoard([Fault(FaultKind.DIE, times=2)])
    assert [board.take(FaultKind.DIE) is not None for _ in range(4)] == [True, True, False, False]
    assert board.shown() == []


def test_a_fault_without_times_happens_until_cleared() -> None:
    board = FaultBoard([Fault(FaultKind.DIE)])
    assert all(board.take(FaultKind.DIE) for _ in range(5))
    assert board.shown()[0]["happened"] == 5
    before = board.cleared
    board.clear()
    assert board.take(FaultKind.DIE) is None
    assert board.cleared != before


def test_a_fault_spares_the_first_requests() -> None:
    board = FaultBoard([Fault(FaultKind.DIE, skip=2, times=1)])
    assert [board.take(FaultKind.DIE) is not None for _ in range(4)] == [False, False, True, False]


def test_a_fault_meets_only_whom_it_names() -> None:
    board = FaultBoard([Fault(FaultKind.STALL, model="a:b", path="/api/chat")])
    assert board.take(FaultKind.STALL, model="a:b", path="/api/generate") is None
    assert board.take(FaultKind.STALL, model="c:d", path="/api/chat") is None
    assert board.take(FaultKind.REFUSE, model="a:b", path="/api/chat") is None
    assert board.take(FaultKind.STALL, FaultKind.REFUSE, model="a:b", path="/api/chat") is not None
