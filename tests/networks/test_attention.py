"""CTAE and CTAB against the paper's equations, written out by hand."""

import json
import math

import pytest
import torch
from network_cases import DOSE, OAR, TASKS, wave
from torch.nn import functional as F

from ctan_monai.engines.diagnosis.spectrum import effective_rank
from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.engines.runs.run_record import describe
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network
from ctan_monai.networks.attention import CrossTaskAttentionBottleneck, CrossTaskAttentionEncoder, MaskRoute
from ctan_monai.networks.products import PRODUCTS


def test_two_tasks_exchange_their_masks():
    first, second = torch.rand(2, 1, 4, 3, 3)
    routed = MaskRoute()([first, second])
    assert torch.equal(routed[0], second)
    assert torch.equal(routed[1], first)


def test_three_tasks_get_the_mean_the_product_or_the_next_of_the_others():
    a, b, c = torch.rand(3, 1, 4, 3, 3)
    assert torch.allclose(MaskRoute()([a, b, c])[1], (a + c) / 2)
    assert torch.allclose(MaskRoute(others="product")([a, b, c])[1], a * c)
    assert torch.equal(MaskRoute(others="cyclic")([a, b, c])[1], c)
    assert torch.equal(MaskRoute(cross=False)([a, b, c])[1], b)


def test_a_stage_follows_equation_1():
    torch.manual_seed(0)
    stage = CrossTaskAttentionEncoder(["a", "b"], 2, 8, None).eval()
    u, p, previous = torch.randn(1, 8, 5, 4), torch.randn(1, 8, 5, 4), [torch.randn(1, 8, 5, 4) for _ in range(2)]
    masks = [stage.masks[name](torch.cat([u, before], 1)) for name, before in zip("ab", previous, strict=True)]
    attended = stage(u, p, previous)
    assert torch.allclose(attended[0], masks[1] * p)
    assert torch.allclose(attended[1], masks[0] * p)
    assert masks[0].min() > 0
    assert masks[0].max() < 1


@pytest.mark.parametrize("pool", ["bottleneck", "conv3x3", "residual"])
@pytest.mark.parametrize("fusion", ["mul", "concat"])
@pytest.mark.parametrize("share_pool", [True, False])
def test_every_option_keeps_the_sizes_of_the_encoder(pool, fusion, share_pool):
    options = {"pool": pool, "fusion": fusion, "share_pool": share_pool}
    network = create_network("ctan", (OAR, DOSE), "resnet18", network_options={"ctan": options}).eval()
    with torch.no_grad():
        features = network.encoder(wave(1, 1, 77, 50))
        attended = network.attention(features)
    assert [tuple(value.shape) for value in attended] == [tuple(features.p[3].shape)] * 2


def test_shared_and_separate_pools_agree_when_their_weights_do():
    shared = CrossTaskAttentionEncoder(["a", "b"], 2, 8, 16, share_pool=True).eval()
    separate = CrossTaskAttentionEncoder(["a", "b"], 2, 8, 16, share_pool=False).eval()
    separate.masks.load_state_dict(shared.masks.state_dict())
    for pool in separate.pool:
        pool.load_state_dict(shared.pool[0].state_dict())
    u, p, previous = torch.randn(2, 8, 6, 6), torch.randn(2, 8, 6, 6), list(torch.randn(2, 2, 8, 6, 6))
    for one, other in zip(shared(u, p, previous), separate(u, p, previous), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("width", "positions"), [(6, 10), (10, 6)])
@pytest.mark.parametrize("scale", ["n_sqrt_d", "n_d", "none"])
def test_the_channel_product_is_equation_2_with_positions_as_rows(scale, width, positions):
    query, others = torch.randn(2, 1, width, positions)
    e_t, e_other = query[0].T.double(), others[0].T.double()  # N x d
    factor = {"n_sqrt_d": 1 / (positions * math.sqrt(width)), "n_d": 1 / (positions * width), "none": 1.0}[scale]
    expected = (e_t @ (e_other.T @ e_t) * factor).T
    assert torch.allclose(PRODUCTS["channel"](scale)(query, others)[0].double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("width", "positions"), [(6, 10), (10, 6)])
def test_with_channels_as_rows_equation_2_is_the_same_product(width, positions):
    query, others = torch.randn(2, 1, width, positions)
    spatial = query[0] @ (others[0].T @ query[0]) / (positions * math.sqrt(width))
    assert torch.allclose(PRODUCTS["channel"]()(query, others)[0], spatial, atol=1e-4)


def test_the_old_name_spatial_warns_and_is_channel():
    image, options = wave(1, 1, 64, 64), {"ctan": {"attention": "spatial"}}
    torch.manual_seed(0)
    with pytest.warns(DeprecationWarning, match="'spatial' is deprecated; use 'channel'"):
        old = create_network("ctan", TASKS, "resnet18", network_options=options).eval()
    new = create_network("ctan", TASKS, "resnet18").eval()
    new.load_state_dict(old.state_dict())
    with torch.no_grad():
        for name, value in new(image).items():
            assert torch.equal(value, old(image)[name])


def test_a_run_with_the_old_name_spatial_loads(tmp_path):
    torch.manual_seed(0)
    network = create_network("ctan", TASKS, "resnet18").eval()
    record = describe(network)
    record["network_options"] = {"attention": "spatial"}
    (tmp_path / "run.json").write_text(json.dumps(record))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    with pytest.warns(DeprecationWarning, match="use 'channel'"):
        loaded = network_of_run(tmp_path)
    image = wave(1, 1, 64, 64)
    with torch.no_grad():
        for name, value in loaded(image).items():
            assert torch.equal(value, network(image)[name])


def test_the_other_products_follow_their_formulas():
    query, others = torch.randn(2, 1, 6, 10)
    e_t, e_other = query[0].T, others[0].T  # N x d
    softmax = (torch.softmax(e_other @ e_t.T / math.sqrt(6), -1) @ e_t).T
    unit = [value / value.norm(dim=0, keepdim=True) for value in (e_t, e_other)]
    xca = (e_t @ torch.softmax(unit[0].T @ unit[1], -1)).T
    for name, expected in (("softmax", softmax), ("xca", xca)):
        assert torch.allclose(PRODUCTS[name]()(query, others)[0], expected, atol=1e-5), name


@pytest.mark.parametrize("dims", [2, 3])
def test_a_unit_embedding_has_unit_norm_at_each_position_and_bounds_the_product(dims):
    torch.manual_seed(0)
    block = CrossTaskAttentionBottleneck(["a", "b"], dims, 16, width=12, embedding="unit").eval()
    features = [100 * torch.randn(2, 16, *(5, 4, 3)[:dims]) for _ in range(2)]
    rows = []
    for name, value in zip("ab", features, strict=True):
        convolved = torch.einsum("oi,bi...->bo...", block.embed[name][0].weight.flatten(1), value)  # a new batch norm
        rows.append(convolved / convolved.square().mean(1, keepdim=True).sqrt())
    for index, name in enumerate("ab"):
        assert torch.allclose(block.embed[name](features[index]), rows[index], atol=1e-4)
    first, second = (row[0].flatten(1).T for row in rows)  # N x d
    expected = first @ (second.T @ first) / len(first) / math.sqrt(12)  # eq. 2 with the scale of A9
    attended = block(features)[0]
    assert torch.allclose(attended[0].flatten(1).T, expected, atol=1e-4)
    # each row of E has length sqrt(d), so the mean of outer products has a norm of d at most, and the result sqrt(d) d
    assert attended.flatten(2).norm(dim=1).max() <= 12
    assert block.embed["a"](torch.zeros_like(features[0])).abs().max() == 0


def test_a_unit_embedding_keeps_more_directions_of_the_features():
    ranks = {}
    features = [torch.randn(4, 64, 6, 7, generator=torch.Generator().manual_seed(task)).relu() for task in (1, 2)]
    for embedding in ("relu", "unit"):
        torch.manual_seed(0)
        block = CrossTaskAttentionBottleneck(["a", "b"], 2, 64, width=32, embedding=embedding)
        with torch.no_grad():
            attended = block(features)[0].transpose(0, 1).flatten(1)  # (d, positions of all images)
        ranks[embedding] = effective_rank(torch.linalg.svdvals(attended.cov()))
    assert ranks["relu"] < 4
    assert ranks["unit"] > 3 * ranks["relu"]


def test_a_unit_embedding_is_refused_beside_skips_that_would_drown_it():
    options = {"network_options": {"ctan": {"embedding": "unit"}}, "decoder_options": {"join": "wide"}}
    with pytest.raises(ConfigError, match=r"'unit' was found with decoder_options' join: wide.*join: project"):
        create_network("ctan", TASKS, "resnet18", **options)


def test_with_three_tasks_the_bottleneck_averages_the_pairwise_products():
    torch.manual_seed(0)
    block = CrossTaskAttentionBottleneck(["a", "b", "c"], 2, 8, width=6).eval()
    features = list(torch.randn(3, 2, 8, 3, 4))
    embedded = [block.embed[name](value).flatten(2) for name, value in zip("abc", features, strict=True)]
    expected = (block.product(embedded[0], embedded[1]) + block.product(embedded[0], embedded[2])) / 2
    assert torch.allclose(block(features)[0].flatten(2), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_default_product_is_finite_in_half_precision_at_four_million(dtype):
    torch.manual_seed(0)
    block = CrossTaskAttentionBottleneck(["a", "b"], 2, 16, width=512).train()
    features = [torch.randn(1, 16, 64, 128, dtype=dtype) for _ in range(2)]  # N * d = 8192 * 512 = 4.2e6
    with torch.autocast("cpu", dtype=dtype):
        attended = block(features)
    assert all(value.isfinite().all() for value in attended)
    assert 0.1 < attended[0].float().mean() < 10  # of the order of 1 (docs/adr/0004, A9)


def test_without_the_scale_half_precision_overflows_at_sizes_that_occur():
    query = torch.rand(1, 2048, 1024)
    assert not PRODUCTS["channel"]("none")(query, query).half().isfinite().all()
    assert PRODUCTS["channel"]("n_sqrt_d")(query, query).half().isfinite().all()


def test_mtan_is_ctan_without_crossing_and_without_the_bottleneck():
    torch.manual_seed(0)
    mtan = create_network("mtan", TASKS, "resnet50", encoder_options={"split": "one"}).eval()
    plain = create_network(
        "ctan",
        TASKS,
        "resnet50",
        encoder_options={"split": "one"},
        network_options={"ctan": {"cross": False, "bottleneck": False, "pool": "residual"}},
    ).eval()
    plain.load_state_dict(mtan.state_dict(), strict=True)
    image = wave(1, 1, 64, 64)
    with torch.no_grad():
        for name, value in mtan(image).items():
            assert torch.allclose(value, plain(image)[name], atol=1e-5)


@pytest.mark.parametrize(("encoder", "inner"), [("resnet18", [64, 128, 256, 512]), ("resnet50", [64, 128, 256, 512])])
def test_mtans_masks_are_as_wide_inside_as_its_sources_make_them(encoder, inner):
    stages = create_network("mtan", TASKS, encoder).attention.stages
    assert [stage.masks["dose"][0][0].out_channels for stage in stages] == inner  # C / expansion: C = 64 ... or 256 ...


@pytest.mark.parametrize("expansion", [1, 4])
def test_a_residual_pool_is_a_block_with_a_shortcut_and_max_pooling(expansion):
    pool = CrossTaskAttentionEncoder(["a"], 2, 8, 16, cross=False, pool="residual", expansion=expansion).pool[0].eval()
    block, x = pool[0], torch.randn(2, 8, 7, 6)
    inside = block.act(block.bn1(block.conv1(x)))
    inside = block.bn2(block.conv2(inside))
    if expansion == 4:
        inside = block.bn3(block.conv3(block.act(inside)))
    weight, norm = block.downsample[0].weight, block.downsample[1]
    shortcut = torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x) / (1 + norm.eps) ** 0.5  # a new norm, in eval mode
    expected = F.max_pool2d((inside + shortcut).relu(), 2, ceil_mode=True)
    assert torch.allclose(pool(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "sum"}, "'sum' is unknown.*'mul', 'concat'"),
        ({"pool": "max"}, "'max' is unknown"),
        ({"attention": "dot"}, "'dot' is unknown.*'channel'"),
        ({"scale": "d"}, "'d' is unknown"),
        ({"embedding": "gelu"}, "'gelu' is unknown.*'relu', 'unit'"),
        ({"others": "max"}, "'max' is unknown"),
        ({"heads": 8}, r"\['heads'\] is unknown.*'attention'"),
    ],
)
def test_an_unknown_option_is_named_with_the_known_ones(options, message):
    with pytest.raises(ConfigError, match=message):
        create_network("ctan", TASKS, "resnet18", network_options={"ctan": options})
