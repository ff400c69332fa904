"""What MONAI's own programs do with a bundle: ids parsed one by one, {"image": path} through them, nothing of ours."""

import json
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, decollate_batch

from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.files.json_files import as_json
from ctan_monai.share import pack_bundle
from ctan_monai.share.pack_configs import default_settings

TINY = {"method": "hps", "encoder": "resnet18"}


def untrained_run(bundle, folder, **options):
    """Write a run of a bundle whose network was never trained, only to have weights; its answers are not all alike."""
    options = {**TINY, **options}
    parser = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "train.yaml")))
    for name, value in {**options, "bundle_root": str(bundle), "device": "cpu"}.items():
        parser[name] = value
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def").eval()
    _center(network)
    folder.mkdir(parents=True)
    write_run(network, folder)
    save_atomic(network.state_dict(), folder / "model.pt")
    settings = as_json({**default_settings(bundle), **options})
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def _center(network):
    """Move each output by its median over a smooth image, and spread those of masks to a standard deviation of 1.

    So about half of the voxels are inside, and none is a tie that a rounding of 1e-8 decides.
    """
    axes = torch.meshgrid(*[torch.linspace(-3, 3, 64)] * network.spatial_dims, indexing="ij")
    image = (0.5 + 0.5 * torch.sin(sum((at + 2) * axis for at, axis in enumerate(axes))))[None, None]
    heads = dict(network.named_modules())
    with torch.no_grad():
        answers = network(image.repeat(1, int(network.settings["in_channels"]), *[1] * network.spatial_dims))
        for task in network.tasks:
            if not task.pixel_level:
                continue
            head, logits = heads[next(name for name in heads if name.endswith(f"{task.name}.head"))], answers[task.name]
            middle = logits.flatten(2).median(2).values[0]
            spread = (logits.flatten(2)[0] - middle[:, None]).std() if task.masks else 1.0
            head.weight /= spread
            head.bias.copy_((head.bias - middle) / spread)


def packed_untrained(bundle, folder, **options):
    """Pack a bundle with such weights; return the packed folder."""
    return pack_bundle(bundle, untrained_run(bundle, folder / "run", **options), folder / "packed").folder


def infer(bundle, image, **request):
    """Run one image through a packed bundle as MONAI Label's BundleInferTask and its BasicInferTask do.

    Returns:
        The data after the bundle's postprocessing, and what of `pred` is written: an array, its affine.
    """
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    parser.config.update({"bundle_root": str(bundle)})
    network = parser.get_parsed_content("network_def", instantiate=True)
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert set(weights) == set(network.state_dict())  # else it goes on with other weights
    network.load_state_dict(weights)
    network.eval()
    data = {**request, "image": image}
    if isinstance(image, str):
        data["image_path"] = image
    for transform in parser.get_parsed_content("preprocessing", instantiate=True).transforms:
        data = transform(data)
    inferer = parser.get_parsed_content("inferer", instantiate=True)
    with torch.no_grad():
        outputs = inferer(data["image"][None], network)
    data["pred"] = decollate_batch(outputs)[0]
    for transform in parser.get_parsed_content("postprocessing", instantiate=True).transforms:
        data = transform(data)
    return data, *_restored(bundle, data)


def _restored(bundle, data):
    """Do what `Restored` and the writer do with the first output."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    key, pred = next(iter(metadata["network_data_format"]["outputs"].items()))
    found = data[key]
    assert isinstance(found, MetaTensor), pred
    meta = data["image"].meta
    here = found.shape[1:]
    there = meta.get("spatial_shape", here)[-len(here) :]
    assert tuple(here) == tuple(there)  # else it would be resized by nearest neighbors
    array = found if found.ndim <= 3 else found[0]
    return array.array, meta["original_affine"]


def without_options(bundle, image, run_id="run", **options):
    """Run a packed bundle's own inference on the same image; return the folder of its answers."""
    from pack_kit import run_config

    out = Path(bundle).parent / "own"
    run_config(bundle, "inference.yaml", run_id=run_id, kind="infer", input=str(image), output_dir=str(out), **options)
    return out
