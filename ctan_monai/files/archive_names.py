"""Names of an archive's members that lead elsewhere, or are not the same on every system."""

from __future__ import annotations

import unicodedata

_NAME_MAX, _PATH_MAX = 255, 1024
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}


def place_of(name: str) -> str:
    """Return where a member lands, the same for names that some file system takes for one."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return unicodedata.normalize("NFKC", "/".join(parts)).casefold()


def fault_of_name(name: str) -> str:
    """Return what is wrong with a name, empty if nothing is."""
    parts = name.split("/")
    compatible = unicodedata.normalize("NFKC", name)  # some letters stand for two dots or a slash
    unseen = any(unicodedata.category(letter) in _UNSEEN for letter in name)
    faults = {
        "called by an absolute path": name.startswith("/") or name[1:2] == ":",
        "called by a path that leads upwards": ".." in parts or ".." in compatible.split("/"),
        "called with a sign that another system reads otherwise": any(letter in '\\:*?"<>|' for letter in compatible),
        "called with signs that cannot be seen": unseen,
        "without a name": not place_of(name),
        "called by too long a name": len(name.encode("utf-8", "replace")) > _PATH_MAX
        or any(len(part.encode("utf-8", "replace")) > _NAME_MAX for part in parts),
        "called like a device": any(part.split(".")[0].casefold() in _DEVICES for part in parts),
        "called with a dot or blank at the end": any(part[-1:] in (".", " ") and part != "." for part in parts),
    }
    return next((fault for fault, holds in faults.items() if holds), "")


def shown(name: str) -> str:
    """Return a name as a message can show it."""
    return repr(name[:80].encode("ascii", "backslashreplace").decode("ascii"))
