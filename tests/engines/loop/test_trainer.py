import logging

import pytest
import torch
from engine_kit import (
    TASKS,
    SeparateNetworks,
    SmallNetwork,
    assert_same_weights,
    make_item,
    make_loader,
    make_loss,
    make_trainer,
    weights,
)
from ignite.engine import Events
from monai.data import DataLoader, MetaTensor, list_data_collate
from monai.engines.utils import IterationEvents

from ctan_monai.engines import NonFiniteError, PrepareMultiTaskBatch
from ctan_monai.engines.loop.bf16_guard import Precision
from ctan_monai.errors import ConfigError


def plain_training(network, loader, lr=0.1):
    """Train with nothing but torch."""
    loss, prepare = make_loss(network.tasks), PrepareMultiTaskBatch(TASKS)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    for batch in loader:
        image, targets = prepare(batch)
        optimizer.zero_grad()
        loss(network(image.as_tensor()), targets).backward()
        optimizer.step()
    return weights(network)


def twins():
    """Make two networks with the same weights."""
    first, second = SmallNetwork(), SmallNetwork()
    second.load_state_dict(first.state_dict())
    return first, second


def dtype_inside(network):
    """Make a list that fills with the dtypes which the heads compute in."""
    seen = []
    network.heads["dose"].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    return seen


def test_training_is_what_a_plain_loop_does():
    ours, plain = twins()
    make_trainer(ours, make_loader(6)).run()
    assert_same_weights(weights(ours), plain_training(plain, make_loader(6)))


def test_the_output_holds_image_labels_detached_predictions_and_loss():
    trainer = make_trainer(SmallNetwork(), make_loader(2))
    trainer.run()
    output = trainer.state.output
    assert isinstance(output["image"], MetaTensor)
    assert set(output["label"]) == {key for task in TASKS for key in (task.name, f"{task.name}_present")}
    assert list(output["pred"]) == [task.name for task in TASKS]
    assert not any(value.requires_grad for value in [output["loss"], *output["pred"].values()])


def test_all_iteration_events_come_in_order():
    seen, trainer = [], make_trainer(SmallNetwork(), make_loader(2))
    for event in IterationEvents:
        if "inner" not in event.value:
            trainer.add_event_handler(event, lambda engine, event=event: seen.append(event.value))
    trainer.run()
    assert seen == ["forward_completed", "loss_completed", "backward_completed", "model_completed"]


def test_handlers_find_network_and_optimizer_when_they_are_attached():
    class Handler:
        def attach(self, engine):
            self.found = (engine.network, engine.optimizer, engine.loss_function)

    handler, network = Handler(), SmallNetwork()
    trainer = make_trainer(network, make_loader(2), train_handlers=[handler])
    assert handler.found == (network, trainer.optimizer, trainer.loss_function)


@pytest.mark.parametrize("amp", [True, "true"])
def test_amp_on_the_cpu_really_computes_in_bfloat16_and_the_loss_in_float32(amp):
    network = SmallNetwork()
    seen = dtype_inside(network)
    trainer = make_trainer(network, make_loader(2), amp=amp)
    trainer.run()
    assert seen == [torch.bfloat16]
    assert trainer.state.output["pred"]["dose"].dtype is torch.float32
    assert trainer.state.output["loss"].dtype is torch.float32


@pytest.mark.parametrize("amp", [False, "false"])
def test_without_amp_everything_is_float32(amp):
    network = SmallNetwork()
    seen = dtype_inside(network)
    make_trainer(network, make_loader(2), amp=amp).run()
    assert seen == [torch.float32]


@pytest.mark.parametrize(("count", "steps"), [(8, 2), (8, 4), (6, 2), (10, 2), (6, 4)])
def test_accumulating_k_batches_of_b_is_a_batch_of_k_times_b_also_where_the_last_ones_are_fewer(count, steps):
    ours, plain = twins()
    make_trainer(ours, make_loader(count, batch_size=2), accumulation_steps=steps).run()
    expected = plain_training(plain, make_loader(count, batch_size=2 * steps))
    assert_same_weights(weights(ours), expected, rtol=1e-3, atol=1e-5)


def test_accumulation_begins_anew_in_each_epoch():
    ours, plain = twins()
    make_trainer(ours, make_loader(6), epochs=2, accumulation_steps=2).run()
    plain_training(plain, make_loader(6, batch_size=4))
    assert_same_weights(weights(ours), plain_training(plain, make_loader(6, batch_size=4)), rtol=1e-3, atol=1e-5)


def test_accumulation_needs_a_length():
    endless = (batch for batch in make_loader(2))
    with pytest.raises(ConfigError, match="epoch_length"):
        make_trainer(SmallNetwork(), endless, accumulation_steps=2)


@pytest.mark.promise(3, "a NaN in an image stops training before the step, and its case is named")
def test_a_damaged_image_stops_the_run_before_the_step_and_its_case_is_named():
    items = [make_item(index) for index in range(4)]
    items[3]["image"][0, 0, 0] = float("nan")
    network = SmallNetwork()
    trainer = make_trainer(network, DataLoader(items, batch_size=2))
    first_step = {}
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda: first_step.update(weights(network)))
    message = r"loss is not finite at epoch 1, iteration 2.*image of pt_3 holds.*verify"
    with pytest.raises(NonFiniteError, match=message) as caught:
        trainer.run()
    assert caught.value.cases == ("pt_2", "pt_3")
    assert_same_weights(weights(network), first_step, rtol=0, atol=0)


def test_a_loss_that_explodes_on_good_data_names_the_task_and_the_learning_rate():
    network = SmallNetwork()
    network.heads["dose"].bias.data.fill_(float("inf"))
    message = r"pt_0, pt_1: images and labels are finite; the loss of dose.*learning rate"
    with pytest.raises(NonFiniteError, match=message):
        make_trainer(network, make_loader(2)).run()


@pytest.mark.promise(3, "a gradient that is not finite stops training before the step")
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_gradient_that_is_not_finite_stops_the_run_although_the_loss_is(clip_norm):
    network = SmallNetwork()
    before = weights(network)

    def loss(outputs, targets):
        return (0.0 * outputs["dose"].sum()).abs().sqrt()  # 0, with the slope of a square root at 0

    message = r"gradient is not finite at epoch 1, iteration 1, cases pt_0, pt_1.*body"
    with pytest.raises(NonFiniteError, match=message):
        make_trainer(network, make_loader(2), loss=loss, clip_norm=clip_norm).run()
    assert_same_weights(weights(network), before, rtol=0, atol=0)


def test_the_error_survives_its_way_out_of_another_process():
    import pickle

    error = NonFiniteError("loss", "epoch 1, iteration 2", ["a"], "unknown.", "none.")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


def test_clipping_limits_the_step():
    network = SmallNetwork()
    before = weights(network)
    make_trainer(network, make_loader(2), lr=1.0, clip_norm=1e-3).run()
    moved = torch.stack([(value - before[name]).norm() for name, value in weights(network).items()]).norm()
    torch.testing.assert_close(moved, torch.tensor(1e-3), rtol=1e-2, atol=0)


def test_clipping_independent_tasks_together_is_clipping_each_in_a_training_of_its_own():
    together = SeparateNetworks()
    alone = {task.name: SmallNetwork((task,)) for task in TASKS}
    for name, network in alone.items():
        network.load_state_dict(together.branches[name].state_dict())
        make_trainer(network, make_loader(6), clip_norm=0.05).run()
    make_trainer(together, make_loader(6), clip_norm=0.05).run()
    for name, network in alone.items():
        assert_same_weights(weights(together.branches[name]), weights(network))


def test_a_clip_norm_that_is_not_positive_is_an_error():
    with pytest.raises(ConfigError, match="clip_norm"):
        make_trainer(SmallNetwork(), make_loader(2), clip_norm=0.0)


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_last_changes_the_layout_of_features_and_not_the_result(dims):
    shape, layout = ((8, 8), torch.channels_last) if dims == 2 else ((8, 8, 4), torch.channels_last_3d)
    ours, plain = SmallNetwork(spatial_dims=dims), SmallNetwork(spatial_dims=dims)
    plain.load_state_dict(ours.state_dict())
    seen = []
    ours.body.register_forward_hook(lambda *call: seen.append(call[-1].is_contiguous(memory_format=layout)))
    make_trainer(ours, make_loader(4, shape=shape), channels_last="true").run()
    assert seen == [True, True]
    assert_same_weights(weights(ours), plain_training(plain, make_loader(4, shape=shape)))


def test_a_compiled_network_trains_like_the_plain_one():
    ours, plain = twins()
    make_trainer(ours, make_loader(4), compile=True, compile_kwargs={"backend": "eager"}).run()
    assert_same_weights(weights(ours), plain_training(plain, make_loader(4)))


class TestGradientScaling:
    """float16 is for CUDA, but the arithmetic of its gradient scaler runs anywhere."""

    @pytest.fixture
    def trainer(self):
        def make(network, clip_norm=None, **options):
            trainer = make_trainer(network, make_loader(6), clip_norm=clip_norm, **options)
            trainer.precision = Precision("cpu", torch.float16)
            trainer.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
            return trainer

        return make

    @pytest.mark.parametrize("clip_norm", [None, 0.05])
    def test_the_scale_does_not_change_the_step(self, trainer, clip_norm):
        ours, plain = twins()
        make_trainer(plain, make_loader(6), clip_norm=clip_norm).run()
        trainer(ours, clip_norm).run()
        assert_same_weights(weights(ours), weights(plain), rtol=2e-2, atol=2e-3)  # float16 has 11 bits

    @pytest.mark.parametrize("clip_norm", [None, 0.05])
    def test_an_overflow_of_the_scaled_gradient_skips_the_step_and_halves_the_scale(self, trainer, clip_norm):
        network = SmallNetwork()
        before = weights(network)
        run = trainer(network, clip_norm)
        run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
        run.run()
        assert_same_weights(weights(network), before, rtol=0, atol=0)
        assert run.scaler.get_scale() == 2.0**57  # three steps

    def test_a_restored_scaler_stays_when_the_run_starts(self, trainer):
        run = trainer(SmallNetwork())
        run.run()
        assert run.scaler.get_scale() == 1024.0


def test_handlers_are_closed_when_the_run_ends_and_also_when_it_fails():
    class Handler:
        closed = 0

        def attach(self, engine):
            pass

        def close(self):
            self.closed += 1

    handler = Handler()
    make_trainer(SmallNetwork(), make_loader(2), train_handlers=[handler]).run()
    assert handler.closed == 1
    broken = SmallNetwork()
    broken.heads["dose"].bias.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        make_trainer(broken, make_loader(2), train_handlers=[handler]).run()
    assert handler.closed == 2


def test_an_empty_loader_is_an_error():
    loader = DataLoader([make_item(0)], batch_size=2, drop_last=True)
    with pytest.raises(ConfigError, match=r"batch_size: 2 is more than the 1 training items.*--batch_size 1 or less"):
        make_trainer(SmallNetwork(), loader).run()


def test_a_batch_that_leaves_one_value_per_channel_names_batch_size_and_the_images_size():
    network = SmallNetwork()
    network.body.append(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(4)))
    with pytest.raises(ConfigError, match=r"batch_size: a batch of 1 image of 8 x 8 .*--batch_size of 2 or more"):
        make_trainer(network, make_loader(2, batch_size=1)).run()


def test_a_run_that_is_done_does_not_begin_again(caplog):
    network = SmallNetwork()
    trainer = make_trainer(network, make_loader(2))
    trainer.run()
    after_first = weights(network)
    with caplog.at_level(logging.INFO):
        trainer.run()
    assert "nothing to train: 1 of 1 epochs are done" in caplog.text
    assert_same_weights(weights(network), after_first, rtol=0, atol=0)


def test_decollating_gives_a_list_of_cases():
    trainer = make_trainer(SmallNetwork(), make_loader(2), decollate=True)
    trainer.run()
    assert [entry["pred"]["dose"].shape for entry in trainer.state.output] == [(1, 8, 8)] * 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("amp_dtype", ["auto", "bf16", "fp16"])
def test_mixed_precision_trains_on_cuda(amp_dtype):
    from ctan_monai.engines import MultiTaskTrainer

    network = SmallNetwork()
    seen = dtype_inside(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    trainer = MultiTaskTrainer(
        "cuda:0",
        2,
        make_loader(6),
        network,
        optimizer,
        make_loss(),
        amp=True,
        amp_dtype=amp_dtype,
        clip_norm=1.0,
        channels_last=True,
    )
    trainer.run()
    assert set(seen) <= {torch.bfloat16, torch.float16}
    assert torch.isfinite(trainer.state.output["loss"])


def test_collation_of_the_kits_samples_is_what_these_tests_rely_on():
    batch = list_data_collate([make_item(0), make_item(1)])
    assert batch["case"] == ["pt_0", "pt_1"]
