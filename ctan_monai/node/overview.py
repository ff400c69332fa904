"""What the journal says for people and monitoring: rows of the page, health, metrics."""

from __future__ import annotations

import shutil
import time
from typing import Any

from ctan_monai.node.predict import ANSWERS
from ctan_monai.node.service import Node

_SHOWN = 100
_STATES = ("waiting", "running", "done", "failed")
_STUDIES = """
SELECT studies.*, jobs.id AS job, jobs.state AS job_state, jobs.reason, jobs.grown, modality
FROM studies LEFT JOIN jobs ON jobs.study = studies.uid LEFT JOIN series ON series.uid = jobs.series
ORDER BY changed DESC, jobs.id DESC LIMIT ?"""
_SENT = """
SELECT job, kind, destination, state, reason, attempts FROM deliveries JOIN answers ON answers.uid = answer
WHERE job = ? ORDER BY destination, place"""


def problems(node: Node) -> list[str]:
    """Return what keeps a node from working, nothing if it is healthy."""
    found = [f"The thread {name} has ended: start the node again." for name in node.ended()]
    free = shutil.disk_usage(node.settings.folder).free
    if free < node.settings.free_mib * 2**20:
        found.append(f"The disk has {free / 2**20:.0f} MiB left: instances are refused below {node.settings.free_mib}.")
    return found


def counts(node: Node) -> dict[str, int]:
    """Count studies, predictions and answers by state."""
    rows = node.journal.rows
    jobs = {row["state"]: row["n"] for row in rows("SELECT state, count(*) AS n FROM jobs GROUP BY state")}
    sends = {row["state"]: row["n"] for row in rows("SELECT state, count(*) AS n FROM deliveries GROUP BY state")}
    (studies,) = rows("SELECT count(*) AS n, coalesce(sum(state = 'receiving'), 0) AS r FROM studies")
    return {
        "studies": studies["n"],
        "studies being received": studies["r"],
        **{f"predictions {state}": jobs.get(state, 0) for state in _STATES},
        "answers to send": sends.get("waiting", 0),
        "answers sent": sends.get("sent", 0),
        "answers given up": sends.get("given up", 0),
    }


def table(node: Node) -> list[dict[str, Any]]:
    """Return the rows of the page."""
    return [_row(node, dict(row)) for row in node.journal.rows(_STUDIES, _SHOWN)]


def _row(node: Node, row: dict[str, Any]) -> dict[str, Any]:
    state = row["job_state"] or ("being received" if row["state"] == "receiving" else "kept: no rule takes it")
    sends = node.journal.rows(_SENT, row["job"]) if row["job"] else []
    lines = []
    for each in sends:
        why = f" ({each['reason']}; {each['attempts']} attempts)" if each["state"] != "sent" and each["reason"] else ""
        lines.append(f"{each['kind']} to {each['destination']}: {each['state']}{why}")
    failed = state == "failed" or any(each["state"] == "given up" for each in sends)
    done = state == "done" and all(each["state"] == "sent" for each in sends)
    picture = row["job"] and (node.settings.folder / ANSWERS / str(row["job"]) / "picture.png").is_file()
    return {
        **{name: row[name] for name in ("pseudonym", "count", "job", "modality")},
        "changed": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["changed"])),
        "state": f"{state}, new answer of a changed series" if row["grown"] else state,
        "style": "failed" if failed else "done" if done else "",
        "reason": row["reason"] or "",
        "answers": lines,
        "picture": bool(picture),
    }


def metrics(node: Node) -> str:
    """Return the metrics in Prometheus' text format."""
    gauges = {f"ctan_node_{name.replace(' ', '_')}": value for name, value in counts(node).items()}
    gauges["ctan_node_open_associations"] = node.receiver.open_associations()
    gauges["ctan_node_free_bytes"] = shutil.disk_usage(node.settings.folder).free
    gauges["ctan_node_healthy"] = int(not problems(node))
    totals = {row["name"]: row["value"] for row in node.journal.rows("SELECT name, value FROM counters")}
    totals |= {"instances_refused": 0, "associations_rejected": 0, "associations_aborted": 0, **node.receiver.counts}
    lines = [line for name, value in gauges.items() for line in (f"# TYPE {name} gauge", f"{name} {value}")]
    for name, value in sorted(totals.items()):
        lines += [f"# TYPE ctan_node_{name}_total counter", f"ctan_node_{name}_total {value}"]
    return "\n".join(lines) + "\n"
