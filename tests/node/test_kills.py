"""A node that is killed at any moment answers every study, and each answer is one object where it is sent."""

import pytest
from node_faults import kill_and_count

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.mark.promise(9, "killed at random moments, a node answers every study, one object per answer, none lost")
@pytest.mark.timeout(7200)
def test_every_study_is_answered_once_whatever_is_killed(tmp_path, count, record):
    studies, kills = count(5, 200), count(3, 50)
    found = kill_and_count(tmp_path, studies, kills)
    record(
        f"{kills} kills in {studies} studies of 3 images: {found['answered']} answered, {found['objects']} objects of"
        f" {2 * studies} at the destination, {found['again']} came twice with the same bytes;"
        f" {found['starts']} predictions started for {found['done']} that ended"
    )
    assert found["answered"] == studies
    assert found["objects"] == 2 * studies
    assert found["different"] == 0
    assert (found["done"], found["unsent"]) == (studies, 0)
    log = (tmp_path / "log.txt").read_text()
    assert "Traceback" not in log
