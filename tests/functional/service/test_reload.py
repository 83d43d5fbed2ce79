"""Reload: a configuration that is wrong changes nothing and says why."""

import signal

from tests.functional.service.conftest import Start
from tests.support.notify_socket import NotifySocket
from tests.support.waiting import wait_until


def test_reload_is_told_to_systemd_from_beginning_to_end(
    start: Start, notify: NotifySocket
) -> None:
    service = start("Traced", notify=notify)
    service.wait_ready()
    answer = service.run_command("reload", "--wait")
    assert (answer.status, answer.stdout) == (0, "reloaded\n")
    begun = notify.wait_for("RELOADING=1", 10)
    assert int(begun.fields["MONOTONIC_USEC"]) <= begun.at * 1_000_000
    notify.wait_for("READY=1", 10, after=begun)


def test_a_configuration_that_is_wrong_leaves_the_old_one_in_force(
    start: Start, notify: NotifySocket
) -> None:
    service = start("Traced", notify=notify)
    service.wait_ready()
    right = service.config_file.read_text()
    service.config_file.write_text(right + "report_interval = often\n")
    answer = service.run_command("reload")
    assert answer.status == 1
    assert "report_interval" in answer.stderr
    service.signal(signal.SIGHUP)
    service.wait_for_line("reload failed, the old configuration stays in force: .*report_interval")
    wait_until(
        lambda: "reload failed: " in notify.values("STATUS")[-1], 10, "STATUS tells of the failure"
    )
    assert "2/2 workers serving" in notify.values("STATUS")[-1]
    service.config_file.write_text(right)
    assert service.run_command("reload").status == 0
    wait_until(lambda: notify.values("STATUS")[-1] == "2/2 workers serving", 10, "it is mended")
    assert service.run_command("ping").status == 0
