"""Options of networks that came after the first runs, and the form of networks of runs without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.registry import create_network, options_before, own_backbone

_JOIN_BEFORE = {"join": "wide"}  # docs/adr/0029
_SPLIT_BEFORE = {"mtan": {"split": "one"}}  # was its default, and is in its records


def complete_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Complete run.json by the options that had no name when it was written, as they were then.

    >>> complete_record({"method": "hps", "decoder_options": {}, "network_options": {}})["decoder_options"]
    {'join': 'wide'}
    """
    method = str(record.get("method"))
    before = {
        "decoder_options": {} if own_backbone(method) else _JOIN_BEFORE,
        "network_options": options_before(method),
    }
    known = {group: record.get(group) for group in before}
    return {
        **record,
        **{name: {**before[name], **found} for name, found in known.items() if isinstance(found, Mapping)},
    }


def record_before(network: MultiTaskNetwork) -> dict[str, Any]:
    """Return the record of a run of the same method and encoder before the options of `complete_record`."""
    split = _SPLIT_BEFORE.get(network.method, {})
    named = {"method": network.method, "encoder": network.settings["encoder"], "encoder_options": split}
    return complete_record({**named, "decoder_options": {}, "network_options": {}})


def take_form(network: MultiTaskNetwork, record: Mapping[str, Any] | None) -> bool:
    """Rebuild a network in place in the form of a run's, so that the run's weights fit.

    The form is the encoder's split, how decoders join, and what else an architecture's `options_before` name. What was
    given when the network was created stays. Whoever holds the network holds the new one, with new random weights; an
    optimizer made before holds the parameters of the old one.

    Args:
        network: of `create_network`, not wrapped.
        record: the run's run.json; None or empty: nothing is done.

    Returns:
        Whether it was built anew.
    """
    wanted, now = _wanted(network, record or {}), network.settings
    if all(wanted[group] == now[group] for group in wanted):
        return False
    fresh = create_network(
        network.method,
        network.tasks,
        now["encoder"],
        network.spatial_dims,
        now["in_channels"],
        encoder_options=wanted["encoder_options"],
        decoder_options=wanted["decoder_options"],
        network_options={network.method: wanted["network_options"]},
    )
    place = next(network.parameters())
    fresh.to(device=place.device, dtype=place.dtype).train(network.training)
    network.__dict__.clear()
    network.__dict__.update(fresh.__dict__)
    return True


def _wanted(network: MultiTaskNetwork, record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the network's options by group, with options of its form that were not given taken from the record."""
    if not network.given:
        return {}  # not by `create_network`
    saved, now = complete_record(record), network.settings
    form = {
        "encoder_options": {"split"},
        "decoder_options": set(_JOIN_BEFORE),
        "network_options": set(options_before(network.method)),
    }
    if saved.get("method") != network.method or saved.get("encoder") != now["encoder"]:
        return {group: now[group] for group in form}  # another network, not another form
    wanted = {}
    for group, names in form.items():
        free = names - network.given[group]
        kept = {name: value for name, value in now[group].items() if name not in free}
        wanted[group] = kept | {name: value for name, value in (saved.get(group) or {}).items() if name in free}
    return wanted


def form_overrides(
    network: MultiTaskNetwork, record: Mapping[str, Any], definition: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the config entries that build a network in the form of a run's.

    Args:
        network: what the config builds.
        record: the run's run.json.
        definition: ``network_def`` of the config.

    Returns:
        Values by id, as ``{"network_def#decoder_options#join": "wide"}``; empty where it does so already.
    """
    found: dict[str, Any] = {}
    for group, options in _wanted(network, record).items():
        path, place, now = f"network_def#{group}", definition.get(group), network.settings[group]
        if group == "network_options":
            path, place = f"{path}#{network.method}", (place or {}).get(network.method)
        new = {name: value for name, value in options.items() if name not in now or now[name] != value}
        if new:
            found.update({f"{path}#{name}": value for name, value in new.items()} if place is not None else {path: new})
    return found
