"""Read the settings of a DICOM node from a YAML file."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from ctan_monai.config_values import refuse_code
from ctan_monai.errors import ConfigError, install
from ctan_monai.files.duplicates import twice, yaml_once
from ctan_monai.node.settings import Destination, NodeSettings, Rule, Tls
from ctan_monai.node.tls import check
from ctan_monai.node.token_file import read_token

_TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")  # VR AE: no backslash (PS3.5 6.2), nor spaces around
_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")
_KINDS: dict[str, tuple[Any, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "list": (list, "a list"),
    "dict": (dict, "a mapping of names and values"),
}
_ZERO_ALLOWED = ("port", "page_port", "stow_port", "give_up_after_h", "keep_days", "keep_gib", "free_mib")
_NUMBERS = {each.name: str(each.type) for each in fields(NodeSettings) if str(each.type) in ("int", "float")}
_OWN_OPTIONS = ("input", "run_dir", "output_dir", "cache_dir", "bundle_root", "dataset_dir")


def read_settings(path: str | Path, run: str | Path | None = None) -> NodeSettings:
    """Read a node's settings.

    Args:
        path: a YAML file; folders in it are relative to the file's.
        run: folder of the run of the rules that name none.

    Raises:
        ConfigError: the file cannot be read, or something in it cannot be used; the message names the entry.
    """
    path = Path(path)
    try:
        content = yaml_once(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        found = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(
            str(path), f"it cannot be read ({found}).", "Give a YAML file as in docs/dicom-node.md."
        ) from error
    entries = _Entries(path, "", content)
    destinations = {
        str(name): _destination(_Entries(path, f"destinations: {name}", value), str(name))
        for name, value in entries.take("destinations", "dict").items()
    }
    rules = entries.take("rules", "list")
    if not rules:
        raise entries.refuse("rules", "there is none.", "Write a rule for each kind of series.")
    read = tuple(
        _rule(_Entries(path, f"rules: {at}", value), at, destinations, run) for at, value in enumerate(rules, 1)
    )
    if again := twice(rule.name for rule in read):
        raise entries.refuse("rules", f"two are called {again[0]!r}.", "Give each a name of its own.")
    given: dict[str, Any] = {name: entries.number(name, kind) for name, kind in _NUMBERS.items() if name in entries}
    given |= {name: entries.take(name, "str") for name in ("ae_title", "host") if name in entries}
    given |= {name: entries.texts(name) for name in ("callers", "addresses") if name in entries}
    if "tls" in entries:
        given["tls"] = _tls(_Entries(path, "tls", entries.take("tls", "dict")), own=True)
    if "stow_token" in entries:
        given["stow_token"] = _token(entries, "stow_token")
    folder = path.parent / entries.take("folder", "str")
    entries.finish()
    settings = NodeSettings(folder=folder, rules=read, destinations=destinations, **given)
    _check(entries, settings)
    return settings


class _Entries:
    """Entries of a mapping in a file; what is not taken is unknown.

    Args:
        path: the file.
        where: of the mapping in the file.
        content: of the mapping.

    Raises:
        ConfigError: it is none.
    """

    def __init__(self, path: Path, where: str, content: Any) -> None:
        self.path, self.where, self._taken = path, where, dict[str, None]()
        if not isinstance(content, dict):
            raise self.refuse("", f"{content!r} was found, expected names and values.", "See docs/dicom-node.md.")
        self._content: dict[str, Any] = content

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def refuse(self, name: str, reason: str, remedy: str) -> ConfigError:
        """Create the error for an entry."""
        return ConfigError(": ".join(part for part in (str(self.path), self.where, name) if part), reason, remedy)

    def take(self, name: str, kind: str, default: Any = None) -> Any:
        """Return an entry of a kind."""
        self._taken[name] = None
        if name not in self._content and default is not None:
            return default
        value, (types, words) = self._content.get(name), _KINDS[kind]
        if not isinstance(value, types) or isinstance(value, bool):
            found = f"{value!r} was found" if name in self._content else "it is missing"
            raise self.refuse(name, f"{found}, expected {words}.", "Correct the entry.")
        return value

    def number(self, name: str, kind: str) -> float:
        """Return an entry that is a number above 0, or 0 where that has a meaning."""
        value = self.take(name, kind)
        if not (0 < value < 10**9 or (value == 0 and name in _ZERO_ALLOWED)):
            raise self.refuse(name, f"{value} was found, expected more than 0.", "Correct the entry.")
        return float(value) if kind == "float" else int(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an entry that is a list of texts."""
        return tuple(str(value) for value in self.take(name, "list"))

    def title(self, name: str, value: str) -> str:
        """Check an AE title."""
        if not _TITLE.fullmatch(value):
            raise self.refuse(name, f"{value!r} is no AE title.", "Use up to 16 letters, digits or signs.")
        return value

    def port(self, name: str, value: int) -> int:
        """Check a TCP port."""
        if not 0 <= value < 65536:
            raise self.refuse(name, f"{value} is no port.", "Use a number from 1 to 65535.")
        return value

    def finish(self) -> None:
        """Refuse what was not taken."""
        if unknown := sorted(str(name) for name in self._content.keys() - self._taken.keys()):
            known = sorted({*self._taken, *([] if self.where else [each.name for each in fields(NodeSettings)])})
            raise self.refuse(unknown[0], "there is no such entry.", f"Use {', '.join(known)}.")


def _destination(entries: _Entries, name: str) -> Destination:
    if not _NAME.fullmatch(name):
        raise entries.refuse("", f"{name!r} is no name.", "Use letters, digits, '.', '_' and '-'.")
    if "url" in entries:
        return _service(entries, name)
    title = entries.title("ae_title", entries.take("ae_title", "str"))
    host, port = entries.take("host", "str"), entries.port("port", int(entries.number("port", "int")))
    tls = _tls_of(entries)
    entries.finish()
    return Destination(name, title, host, port, tls)


def _service(entries: _Entries, name: str) -> Destination:
    """Return a destination that is a STOW-RS service."""
    url = entries.take("url", "str")
    if not _URL.fullmatch(url):
        remedy = "Give one as https://pacs.example/dicom-web, without /studies."
        raise entries.refuse("url", f"{url!r} is no URL of a service.", remedy)
    _need("httpx", f"{entries.path}: {entries.where}: url")
    tls, token = _tls_of(entries), _token(entries, "token") if "token" in entries else None
    entries.finish()
    return Destination(name, tls=tls, url=url, token=token)


def _token(entries: _Entries, name: str) -> Path:
    path: Path = entries.path.parent / entries.take(name, "str")
    read_token(path, f"{entries.path}: {entries.where}{': ' if entries.where else ''}{name}")
    return path


def _need(package: str, where: str) -> None:
    """Refuse what needs a package that is not installed."""
    if find_spec(package) is None:
        remedy = f"Run {install('stow', 'httpx starlette uvicorn')}."
        raise ConfigError(where, f"{package} is not installed.", remedy)


def _tls_of(entries: _Entries) -> Tls | None:
    if "tls" not in entries:
        return None
    return _tls(_Entries(entries.path, f"{entries.where}: tls", entries.take("tls", "dict")))


def _tls(entries: _Entries, own: bool = False) -> Tls:
    """Return the files of TLS, which were checked; ``own``: of the node, which must show a certificate."""
    base = entries.path.parent
    names = ("certificate", "key") if own or "certificate" in entries or "key" in entries else ()
    certificate, key = [base / entries.take(name, "str") for name in names] or (None, None)
    ca = tuple(base / name for name in entries.texts("ca"))
    if not ca:
        remedy = "Name the certificates of those who sign the other side's."
        raise entries.refuse("ca", "nobody's certificate would be trusted.", remedy)
    made = Tls(ca, certificate, key, "" if own else entries.take("name", "str", ""))
    entries.finish()
    check(made, f"{entries.path}: {entries.where}")
    return made


def _rule(entries: _Entries, at: int, destinations: Mapping[str, Destination], run: str | Path | None) -> Rule:
    base = entries.path.parent
    if "run" not in entries and run is None:
        raise entries.refuse(
            "run", "it is missing.", "Name a run's folder there, or by --run for all rules without one."
        )
    folder = base / entries.take("run", "str") if "run" in entries else Path(run or "")
    bundle = base / entries.take("bundle", "str") if "bundle" in entries else folder.absolute().parent.parent
    made = Rule(
        entries.take("name", "str", f"rule{at}"),
        folder.resolve(),
        bundle.resolve(),
        entries.texts("send_to"),
        entries.take("modality", "str", "CT"),
        entries.take("sop_class", "str", ""),
        entries.take("series_description", "str", ""),
        entries.take("body_part", "str", ""),
        entries.take("options", "dict", {}),
    )
    entries.finish()
    _check_rule(entries, made, destinations)
    return made


def _check_rule(entries: _Entries, rule: Rule, destinations: Mapping[str, Destination]) -> None:
    if not _NAME.fullmatch(rule.name):
        raise entries.refuse("name", f"{rule.name!r} is none.", "Use letters, digits, '.', '_' and '-'.")
    for name in rule.send_to:
        if name not in destinations:
            raise entries.refuse("send_to", f"{name!r} is no destination.", f"Use {', '.join(destinations)}.")
    for name, pattern in (("series_description", rule.series_description), ("body_part", rule.body_part)):
        try:
            re.compile(pattern)
        except re.error as error:
            raise entries.refuse(name, f"{pattern!r} is no regular expression ({error}).", "Correct it.") from error
    for name, file in (("run", rule.run / "model.pt"), ("bundle", rule.bundle / "configs" / "inference.yaml")):
        if not file.is_file():
            raise entries.refuse(name, f"there is no {file}.", f"Name the folder of a {name}.")
    if taken := [name for name in rule.options if name in _OWN_OPTIONS]:
        raise entries.refuse("options", f"{taken[0]} is set by the node.", "Leave it out.")
    refuse_code(rule.options, f"{entries.path}: {entries.where}: options")


def _check(entries: _Entries, settings: NodeSettings) -> None:
    entries.title("ae_title", settings.ae_title)
    for title in settings.callers:
        entries.title("callers", title)
    entries.port("port", settings.port)
    entries.port("page_port", settings.page_port)
    entries.port("stow_port", settings.stow_port)
    if settings.stow_port:
        for package in ("starlette", "uvicorn"):
            _need(package, f"{entries.path}: stow_port")
    try:
        local = ipaddress.ip_address(settings.host).is_loopback
    except ValueError as error:
        raise entries.refuse(
            "host", f"{settings.host!r} is no IP address.", "Use 127.0.0.1, or that of a network."
        ) from error
    for address in settings.addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise entries.refuse("addresses", f"{address!r} is no IP address.", "Correct it.") from error
    if not local and not (settings.callers and settings.addresses):
        remedy = "List AE titles under callers and IP addresses under addresses."
        raise entries.refuse("callers", f"anybody could send to {settings.host}.", remedy)
    if not local and settings.stow_port and settings.tls is None and settings.stow_token is None:
        remedy = "Give tls, or a token under stow_token."
        raise entries.refuse("stow_port", f"anybody could send to {settings.host} by STOW-RS.", remedy)
