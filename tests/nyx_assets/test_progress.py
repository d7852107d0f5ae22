"""A line every few seconds, with a rate and a time left that are right."""

from nyx_assets.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(total: int | None) -> tuple[Progress, Clock, list[str]]:
    clock, said = Clock(), list[str]()
    return Progress(said.append, "pages", total, every_seconds=5.0, clock=clock), clock, said


def test_it_speaks_at_most_once_in_five_seconds() -> None:
    counter, clock, said = progress(None)
    for second in range(12):
        clock.now = 100.0 + second
        counter.advance()
    assert said == ["6 pages, 1/s", "11 pages, 1/s"]


def test_the_time_left_is_the_rest_at_the_rate_so_far() -> None:
    counter, clock, said = progress(4_000)
    clock.now += 8
    counter.advance(1_000)
    assert said == ["1,000 of 4,000 pages, 125/s, 24 s left"]
    assert (counter.seconds, counter.rate) == (8, 125)


def test_before_anything_is_done_it_promises_nothing() -> None:
    counter, _, _ = progress(10)
    assert counter.line() == "0 pages, 0/s"


def test_items_pass_through_and_count_when_they_are_finished() -> None:
    counter, _, _ = progress(3)
    seen = []
    for item in counter.over(["a", "b", "c"]):
        seen.append((item, counter.done))
    assert seen == [("a", 0), ("b", 1), ("c", 2)]
    assert counter.done == 3


def test_a_step_that_pays_says_what_is_spent_beside_its_rate() -> None:
    said: list[str] = []
    clock = Clock()
    counter = Progress(said.append, "calls", 100, clock=clock, beside=lambda: "12 calls spent, at most 50 calls")
    clock.now += 10
    counter.advance(50)
    assert said == ["50 of 100 calls, 5/s, 10 s left; 12 calls spent, at most 50 calls"]
