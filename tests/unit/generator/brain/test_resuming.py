from generator.brain.jobs import resume_jobs
from generator.brain.responses import Status
from generator.domain import Candidate
from generator.storage.simulations import Simulation


def row(
    number: int, state: str, *, place: int | None = None, location: str = "", status: str = ""
) -> Simulation:
    name = f"e{number}"
    return Simulation(
        number,
        Candidate(name, name, name),
        state,
        5.0,
        location,
        place,
        status,
        alpha_id="a" if status else "",
    )


def test_every_state_is_gone_on_with_in_its_own_way() -> None:
    resumed = resume_jobs(
        [
            row(1, "sending"),
            row(2, "running", location="/simulations/2"),
            row(3, "running", location="/simulations/3", place=0),
            row(4, "running", location="/simulations/3", place=2),
            row(5, "ended", status="WARNING"),
            row(6, "lost"),
            row(7, "running", location="/simulations/7", place=1),
        ],
        100.0,
    )
    assert [job.row for job in resumed.unconfirmed] == [1]
    assert [
        (flight.location, flight.multi, [job.row for job in flight.jobs]) for flight in resumed.flights
    ] == [
        ("/simulations/2", False, [2]),
        ("/simulations/3", True, [3, 4]),
        ("/simulations/7", True, [7]),
    ]
    assert [job.place for job in resumed.flights[1].jobs] == [0, 2]
    [(job, ended)] = resumed.ended
    assert (job.row, job.alpha, ended.status) == (5, "a", Status.WARNING)
    assert resumed.digests == {"e1", "e2", "e3", "e4", "e5", "e7"}
    assert all(flight.due == 100.0 for flight in resumed.flights)


def test_nothing_left_is_nothing() -> None:
    resumed = resume_jobs([], 1.0)
    assert (resumed.flights, resumed.unconfirmed, resumed.ended, resumed.digests) == ([], [], [], set())
