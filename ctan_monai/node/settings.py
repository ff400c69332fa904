"""Settings of a DICOM node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANY_NAME = "*"  # of the other side of TLS


@dataclass(frozen=True)
class Tls:
    """Files of TLS, in PEM.

    Args:
        ca: certificates of those who must have signed the other side's.
        certificate: that is shown to the other side, followed by those that signed it; None: none.
        key: of that certificate.
        name: that the other side's certificate must have; '': its host; '*': any. Not of those who send to the node.
    """

    ca: tuple[Path, ...]
    certificate: Path | None = None
    key: Path | None = None
    name: str = ""


@dataclass(frozen=True)
class Destination:
    """Application entity, or STOW-RS service, that answers are sent to.

    Args:
        name: what rules call it.
        ae_title: its title.
        host: its name or address.
        port: its TCP port.
        tls: of the connection; None: that of C-STORE is not encrypted, that of an https URL as the system trusts.
        url: of a STOW-RS service, without /studies; '': it is an application entity.
        token: file of the bearer token for the service; None: none.
    """

    name: str
    ae_title: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None
    url: str = ""
    token: Path | None = None


@dataclass(frozen=True)
class Rule:
    """Which series are predicted by which run, and where the answers go.

    Args:
        name: what pages and logs call it.
        run: the run's folder.
        bundle: the folder of the run's bundle.
        send_to: names of destinations.
        modality: of the series, as CT; '': any.
        sop_class: UID of the series' images; '': any.
        series_description: regular expression that the description contains, ignoring case; '': any.
        body_part: the same for BodyPartExamined.
        options: of the bundle's inference.yaml, by name.
    """

    name: str
    run: Path
    bundle: Path
    send_to: tuple[str, ...]
    modality: str = "CT"
    sop_class: str = ""
    series_description: str = ""
    body_part: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, modality: str, sop_class: str, series_description: str, body_part: str) -> bool:
        """Tell whether the rule is for a series."""
        return (
            self.modality in ("", modality)
            and self.sop_class in ("", sop_class)
            and re.search(self.series_description, series_description, re.IGNORECASE) is not None
            and re.search(self.body_part, body_part, re.IGNORECASE) is not None
        )


@dataclass(frozen=True)
class NodeSettings:
    """Settings of a node.

    Args:
        folder: everything that the node keeps; one node has it at a time.
        rules: the first that takes a series counts.
        destinations: by name.
        ae_title: the node's own title.
        host: address that it listens on.
        port: TCP port; 0: any that is free.
        stow_port: TCP port of STOW-RS, on the same host; 0: none.
        stow_token: file of the bearer token that senders by STOW-RS must have; None: none.
        page_port: TCP port of the page, on 127.0.0.1; 0: none.
        callers: AE titles that may send; empty: any, which is refused unless the host is the machine itself.
        addresses: IP addresses that may send; empty: any.
        tls: of who sends; None: connections are not encrypted.
        quiet_s: a study is taken when nothing of it came for so many seconds, and who sent it has gone.
        jobs: predictions at the same time.
        job_minutes: a prediction that takes longer is ended.
        retry_s: wait before an answer is sent again; it doubles up to ten minutes.
        give_up_after_h: an answer that could not be sent for so many hours is a failure; 0: never.
        associations: so many at once; others are rejected for now.
        idle_s: an association without progress is aborted.
        pdu_kib: longest protocol data unit.
        instance_mib: largest instance.
        study_instances: instances of a study; more are refused.
        study_mib: size of a study; more is refused.
        free_mib: space that stays free on the disk; instances are refused before it is used.
        keep_days: studies are removed so long after everything was sent; 0: never.
        keep_gib: the oldest that are sent are removed above this size; 0: no limit.
    """

    folder: Path
    rules: tuple[Rule, ...]
    destinations: Mapping[str, Destination]
    ae_title: str = "CTAN_MONAI"
    host: str = "127.0.0.1"
    port: int = 11112
    stow_port: int = 0
    stow_token: Path | None = None
    page_port: int = 8050
    callers: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    tls: Tls | None = None
    quiet_s: float = 30.0
    jobs: int = 1
    job_minutes: float = 120.0
    retry_s: float = 10.0
    give_up_after_h: float = 0.0
    associations: int = 20
    idle_s: float = 60.0
    pdu_kib: int = 128
    instance_mib: int = 512
    study_instances: int = 5000
    study_mib: int = 8192
    free_mib: int = 512
    keep_days: float = 30.0
    keep_gib: float = 0.0

    def rule_for(self, modality: str, sop_class: str, series_description: str, body_part: str) -> Rule | None:
        """Return the first rule for a series, None if there is none."""
        found = (rule for rule in self.rules if rule.takes(modality, sop_class, series_description, body_part))
        return next(found, None)
