"""Trainer, evaluator and handlers as a bundle wires them: YAML with plain values and references."""

import json

import pytest
import yaml
from monai.bundle import ConfigParser

CONFIG = """
output_dir: OUTPUT
amp: 'true'
tasks:
- {_target_: ctan_monai.tasks.Segmentation, name: oar, labels: [Rectum, Bladder], overlapping: true}
- {_target_: ctan_monai.tasks.Regression, name: dose, unit: Gy, scale: 80.0}
- {_target_: ctan_monai.tasks.Classification, name: grade, classes: [low, middle, high]}
network:
  {_target_: ctan_monai.networks.create_network, method: METHOD, tasks: '@tasks', encoder: resnet18, spatial_dims: 2,
    in_channels: 1}
train:
  loss:
    _target_: ctan_monai.losses.MultiTaskLoss
    tasks: '@tasks'
    weighting: {_target_: ctan_monai.losses.create_weighting, name: uncertainty, tasks: '@tasks',
      independent: '$@network.independent_tasks'}
  optimizer:
    _target_: torch.optim.Adam
    params: {_target_: ctan_monai.engines.trainable_parameters, network: '@network', loss: '@train#loss'}
    lr: 0.001
    fused: true
  schedule: {_target_: torch.optim.lr_scheduler.CosineAnnealingLR, optimizer: '@train#optimizer', T_max: 2}
  handlers:
  - {_target_: LrScheduleHandler, lr_scheduler: '@train#schedule', print_lr: false}
  - {_target_: ValidationHandler, validator: '@validate#evaluator', interval: 1}
  - {_target_: ctan_monai.engines.StopTraining, early_stopping: '@validate#handlers#2'}
  - {_target_: ctan_monai.engines.LossLogger, loss: '@train#loss', output_dir: '@output_dir', every: 1}
  - {_target_: ctan_monai.engines.MetricsLogger, evaluator: '@validate#evaluator', output_dir: '@output_dir'}
  - {_target_: ctan_monai.engines.WeightingHandler, loss: '@train#loss'}
  - {_target_: ctan_monai.engines.ProgressBar, title: hps}
  trainer:
    _target_: ctan_monai.engines.MultiTaskTrainer
    device: cpu
    max_epochs: 2
    train_data_loader: {_target_: engine_kit.make_loader, count: 4, shape: [64, 64]}
    network: '@network'
    optimizer: '@train#optimizer'
    loss_function: '@train#loss'
    train_handlers: '@train#handlers'
    amp: '@amp'
    channels_last: 'true'
    clip_norm: 5.0
    accumulation_steps: 2
validate:
  handlers:
  - {_target_: ctan_monai.engines.MultiTaskMetrics, tasks: '@tasks'}
  - {_target_: ctan_monai.engines.WriteCaseMetrics, output_dir: '@output_dir'}
  - {_target_: ctan_monai.engines.EarlyStopping, network: '@network', patience: 1}
  - {_target_: ctan_monai.engines.ProgressBar}
  evaluator:
    _target_: ctan_monai.engines.MultiTaskEvaluator
    device: cpu
    val_data_loader: {_target_: engine_kit.make_loader, count: 1, batch_size: 1, shape: [64, 64, 3], first: 4}
    network: '@network'
    prepare_batch: {_target_: ctan_monai.engines.PrepareMultiTaskBatch, tasks: '@tasks', extra: []}
    inferer: {_target_: ctan_monai.engines.MultiTaskInferer, slice_batch: 2, roi_size: [48, -1]}
    val_handlers: '@validate#handlers'
    amp: '@amp'
"""


@pytest.mark.parametrize("method", ["hps", "stl"])
def test_everything_of_this_layer_is_made_and_run_from_a_config(tmp_path, method):
    config = yaml.safe_load(CONFIG.replace("METHOD", method))
    parser = ConfigParser({**config, "output_dir": str(tmp_path)})
    trainer = parser.get_parsed_content("train#trainer")
    trainer.run()
    assert trainer.state.epoch >= 1
    metrics = parser.get_parsed_content("validate#evaluator").state.metrics
    assert {"selection", "selection_oar", "selection_dose", "selection_grade", "oar_dice"} <= set(metrics)
    assert json.loads((tmp_path / "summary.json").read_text())["cases"] == 1
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"train", "validation"}
    stopping = parser.get_parsed_content("validate#handlers#2")
    assert set(stopping.best) == ({"oar", "dose", "grade"} if method == "stl" else {"all"})
