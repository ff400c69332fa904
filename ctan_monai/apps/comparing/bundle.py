"""A comparison's bundle: its tasks, networks and options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.aliases import config_id
from ctan_monai.apps.comparing.plan import OWN_OPTIONS, TRACKING
from ctan_monai.apps.overrides import read_pairs
from ctan_monai.config_values import refuse_code
from ctan_monai.engines.runs.parsed_config import check_moved_ids, option_names
from ctan_monai.errors import ConfigError, find_ctan_error

CONFIGS = ("train.yaml", "evaluate.yaml")


def read_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse the overrides of all runs of a comparison.

    >>> read_overrides(["--epochs", "5"])
    {'epochs': 5}

    Raises:
        ConfigError: something is no pair of name and value, or belongs to the comparison.
    """
    found = read_pairs(arguments)
    for name in found:
        if name in OWN_OPTIONS:
            raise ConfigError(f"--{name}", "the comparison chooses it for each run.", "Leave it out after the --.")
    return found


class Bundle:
    """A bundle's configs, with the overrides of the command line.

    Args:
        folder: of the bundle.
        arguments: overrides as on the command line.

    Raises:
        ConfigError: it is no bundle, or has no such option.
    """

    def __init__(self, folder: str, arguments: Sequence[str] = ()) -> None:
        refuse_code(folder, "--bundle", "Write ./ before it.")
        self.folder = folder
        self.overrides: dict[str, Any] = {}
        given = read_overrides(arguments)
        for name in CONFIGS:
            if not (Path(folder) / "configs" / name).is_file():
                raise ConfigError("--bundle", f"{folder} has no configs/{name}.", "Name a bundle, as bundles/openkbp.")
        parser = self.parser()
        check_moved_ids(parser, given)
        known = parser.config
        for name in given:
            if name.split("#")[0] not in known and name not in TRACKING:
                options = sorted(option_names(known))
                raise ConfigError(f"--{name}", f"{folder} has no such entry.", f"Its options are {options}.")
        self.overrides = given

    def parser(self, options: Mapping[str, Any] | None = None, *, evaluating: bool = False) -> Any:
        """Return a parser of the training's config, or of the evaluation's.

        Args:
            options: further overrides.
            evaluating: the evaluation's.
        """
        from monai.bundle import ConfigParser

        parser = ConfigParser()
        parser.read_config([str(Path(self.folder) / "configs" / name) for name in CONFIGS[: 1 + evaluating]])
        parser.update({"bundle_root": self.folder, **self.overrides, **(options or {})})
        return parser

    def get(self, parser: Any, name: str) -> Any:
        """Build an entry of a config.

        Raises:
            CtanError: it cannot be built; what MONAI wraps around it is taken off.
            ConfigError: there is no such entry.
        """
        try:
            return parser.get_parsed_content(config_id(parser, name))
        except KeyError as error:
            reason = f"{self.folder} has no {name!r} in its configs."
            raise ConfigError("--bundle", reason, "Use a bundle made as those of this project.") from error
        except RuntimeError as error:
            found = find_ctan_error(error)
            if found is None:
                raise
            raise found from error

    @property
    def tasks(self) -> tuple[Any, ...]:
        """Tasks of the bundle."""
        return tuple(self.get(self.parser(), "tasks"))

    def check_folds(self, folds: int) -> None:
        """Check that the bundle can be cross-validated, and that its folds are the comparison's.

        Raises:
            ConfigError: it has no such options, or they are given after the -- too.
        """
        lacking = sorted({"folds", "fold"} - set(self.parser().config))
        if lacking:
            reason = f"{self.folder} has no option {' and '.join(lacking)}."
            raise ConfigError("--folds", reason, "Write the bundle anew, or hand such options to its datalists.")
        given = [name for name in ("folds", "fold") if name in self.overrides]
        if given:
            raise ConfigError(
                f"--{given[0]}", f"the comparison's --folds {folds} chooses it.", "Leave it out after the --."
            )

    def fill_cache(self) -> None:
        """List the training's data, which caches them once instead of in every run."""
        self.get(self.parser(), "datalists")

    def make_store(self) -> None:
        """Create MLflow's store, if runs are tracked, before several runs would at once."""
        if self.overrides.get("tracking") == "mlflow":
            from ctan_monai.engines.tracking.mlflow_run import make_store

            make_store(str(self.get(self.parser(), "tracking_uri")))

    def network(self, method: str, arguments: Sequence[str] = ()) -> Any:
        """Build a network, to check that it can be built."""
        return self.get(self.parser({"method": method, **read_overrides(arguments)}), "network_def")

    def form_before(self, method: str, arguments: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the overrides that build the network in the form of an earlier version's runs."""
        from ctan_monai.networks.forms import form_overrides, record_before

        parser = self.parser({"method": method, **read_overrides(arguments)})
        network = self.get(parser, "network_def")
        found = form_overrides(network, record_before(network), parser.config["network_def"])
        return tuple(word for name, value in found.items() for word in (f"--{name}", str(value)))


def described(tasks: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
    """Describe tasks as run.json does."""
    return tuple({"kind": type(task).__name__, **dataclasses.asdict(task)} for task in tasks)
