from tests.examples.conftest import Start


def test_a_worker_whose_task_hangs_is_replaced_and_the_other_serves(start: Start) -> None:
    service = start()
    before = service.workers()
    service.run_command("call", "unplug", "--worker=1")

    stuck = service.wait_for_line(r"worker 1 pid (\d+): task poll late by")[1]
    service.wait_for_line(r"manager\.py., line \d+ in poll")
    assert service.run_command("ping", "--worker=0").status == 0
    service.wait_for_line(rf"worker=1 pid=(?!{stuck}\b)\d+ serving")

    (other,) = set(before) - {int(stuck)}
    assert other in service.workers()
