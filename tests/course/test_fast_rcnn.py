"""Fast R-CNN: the exact pooling rule, the loss by hand, and the truncated decomposition."""

import math

import pytest
import torch
from torch.nn import functional as F

from course.boxes import decode, encode, mean_average_precision
from course.data import boxes as box_scenes
from course.models import FastRCNN, fast_rcnn
from course.models.detection import sample_regions
from course.models.fast_rcnn import fast_rcnn_loss, truncated_svd
from course.proposals import propose

DOUBLE = torch.float64


def targets_of(scenes):
    return [{"boxes": b, "labels": k} for b, k in zip(scenes.boxes, scenes.labels)]


# --- the network ---------------------------------------------------------------------------------


def test_published_network_has_the_published_size():
    with torch.device("meta"):
        net = FastRCNN()
        assert sum(p.numel() for p in net.parameters()) == 134_690_729
        assert net.fc6.in_features == 25_088
        assert net.class_head.out_features == 21
        assert net.box_head.out_features == 84
        features = torch.empty(1, 3, 600, 1000)
        for i, stage in enumerate(net.stages):
            features = stage(F.max_pool2d(features, 2) if i else features)
    assert features.shape == (1, 512, 37, 62)
    assert net.scale == 1 / 16
    assert net.sides == (600, 1000)


def test_heads_start_as_published():
    net = FastRCNN(21, width=8, stages=3)
    assert net.class_head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert net.box_head.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert not net.class_head.bias.any()
    assert not net.box_head.bias.any()


@pytest.mark.parametrize(("stages", "scale"), [(1, 1.0), (3, 0.25), (5, 0.0625)])
def test_width_and_stages_scale_the_network(stages, scale):
    net = FastRCNN(4, width=4, stages=stages, pool_size=2)
    assert net.scale == scale
    logits, corrections = net(torch.rand(1, 3, 40, 64), [torch.tensor([[3.0, 5.0, 40.0, 30.0]])])
    assert logits.shape == (1, 4)
    assert corrections.shape == (1, 4, 4)


def test_pretrained_weights_reach_the_convolutions_and_both_layers():
    with torch.device("meta"):
        from torchvision.models import vgg16

        shapes = {k: v.shape for k, v in vgg16().state_dict().items()}
    shapes["classifier.0.weight"] = (4096, 512)  # one cell a region, to keep the test small
    torch.manual_seed(0)
    state = {k: torch.rand(1).expand(shape) for k, shape in shapes.items()}
    net = FastRCNN(pool_size=1, weights=state)
    copied = [*net.stages.parameters(), *net.fc6.parameters(), *net.fc7.parameters()]
    assert len(copied) == 30
    for parameter, key in zip(copied, shapes):
        assert parameter.flatten()[0] == state[key].flatten()[0], key


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="VGG16 has 5 stages, got stages=6"):
        FastRCNN(width=4, stages=6)
    with pytest.raises(ValueError, match="pool_size must be at least 1"):
        FastRCNN(width=4, pool_size=0)


# --- RoI pooling inside the network --------------------------------------------------------------


class Identity(FastRCNN):
    """Shows what reaches fc6: no convolution, no ReLU that matters, and no weights."""

    def __init__(self, pool_size, scale):
        super().__init__(2, width=1, stages=1, pool_size=pool_size, sides=None)
        self.stages, self.scale = torch.nn.ModuleList([torch.nn.Identity()]), scale
        self.fc6 = self.fc7 = self.class_head = torch.nn.Identity()
        self.box_head = torch.nn.Linear(3 * pool_size**2, 8)
        self.eval()


def pooled(image, box, size, scale=1.0):
    net = Identity(size, scale)
    images = image.expand(1, 3, *image.shape)
    return net(images, [torch.tensor([box])])[0].view(3, size, size)[0]


def test_worked_examples_of_the_pooling_rule_with_half_open_boxes():
    # The published corners are inclusive, so (0, 0, 3, 3) is our (0, 0, 4, 4).
    image = torch.arange(16.0).view(4, 4)
    assert pooled(image, [0.0, 0.0, 4.0, 4.0], 2).tolist() == [[5, 7], [13, 15]]
    assert pooled(image, [0.0, 0.0, 3.0, 3.0], 2).tolist() == [[5, 6], [9, 10]]
    assert pooled(image, [0.0, 0.0, 64.0, 64.0], 2, 1 / 16).tolist() == [[10, 11], [14, 15]]


def test_a_region_of_one_cell_does_not_grow_into_the_next():
    # End-exclusive corners would read two cells, 0 and 1, and return 1.
    image = torch.arange(16.0).view(4, 4)
    assert pooled(image, [0.0, 0.0, 1.0, 1.0], 1).item() == 0


def loop_pool(feature, box, size, scale):
    """The released layer, in plain Python: inclusive corners, halves away from zero."""
    x0, y0, x1, y1 = (math.floor(v * scale + 0.5) for v in (box[0], box[1], box[2] - 1, box[3] - 1))
    w, h = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    out = torch.zeros(size, size)
    for i in range(size):
        for j in range(size):
            rows = range(y0 + math.floor(i * h / size), y0 + math.ceil((i + 1) * h / size))
            columns = range(x0 + math.floor(j * w / size), x0 + math.ceil((j + 1) * w / size))
            cells = [
                feature[r, c].item()
                for r in rows
                for c in columns
                if 0 <= r < feature.shape[0] and 0 <= c < feature.shape[1]
            ]
            out[i, j] = max(cells, default=0.0)
    return out


def test_pooling_equals_the_released_rule_on_odd_shapes():
    generator = torch.Generator().manual_seed(0)
    feature = torch.rand(7, 11, generator=generator)
    for _ in range(60):
        corner = torch.rand(2, generator=generator) * torch.tensor([120.0, 80.0])
        side = torch.rand(2, generator=generator) * 90 + 1
        box = torch.cat([corner, corner + side]).tolist()
        expected = loop_pool(feature, box, 3, 1 / 16)
        torch.testing.assert_close(pooled(feature, box, 3, 1 / 16), expected)


def test_regions_belong_to_their_image():
    torch.manual_seed(0)
    net = FastRCNN.miniature().eval()
    images = torch.rand(3, 3, 40, 56)
    regions = [
        torch.tensor([[2.0, 3.0, 30.0, 20.0]]),
        torch.zeros(0, 4),
        torch.tensor([[10.0, 8.0, 50.0, 40.0], [0.0, 0.0, 9.0, 9.0]]),
    ]
    together = net(images, regions)
    first = net(images[:1], regions[:1])
    last = net(images[2:], regions[2:])
    for all_rows, a, b in zip(together, first, last):
        torch.testing.assert_close(all_rows, torch.cat([a, b]), rtol=1e-4, atol=1e-5)


# --- loss ----------------------------------------------------------------------------------------


def test_loss_by_hand():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, dtype=DOUBLE, generator=generator)
    corrections = 2 * torch.randn(5, 3, 4, dtype=DOUBLE, generator=generator)
    wanted = 2 * torch.randn(5, 4, dtype=DOUBLE, generator=generator)
    labels = torch.tensor([0, 2, 1, 0, 2])
    found = fast_rcnn_loss(logits, corrections, labels, wanted, lam=3.0)
    total, classes = 0.0, 0.0
    for i, u in enumerate(labels.tolist()):
        classes -= logits[i].log_softmax(0)[u].item()
        if u >= 1:
            for d in (corrections[i, u] - wanted[i]).abs().tolist():
                total += d * d / 2 if d < 1 else d - 0.5
    assert found.classes.item() == pytest.approx(classes / 5)
    assert found.boxes.item() == pytest.approx(3 * total / 5)  # by all regions, not by 3


def test_only_the_true_class_of_foreground_gets_a_box_gradient():
    corrections = torch.randn(4, 3, 4, requires_grad=True)
    labels = torch.tensor([0, 2, 1, 0])
    fast_rcnn_loss(torch.zeros(4, 3), corrections, labels, torch.zeros(4, 4)).boxes.backward()
    touched = corrections.grad.abs().sum(2) > 0
    assert touched.nonzero().tolist() == [[1, 2], [2, 1]]


def test_background_only_gives_a_zero_box_term_with_a_gradient():
    corrections = torch.randn(2, 3, 4, requires_grad=True)
    loss = fast_rcnn_loss(torch.zeros(2, 3), corrections, torch.zeros(2).long(), torch.ones(2, 4))
    assert loss.boxes == 0
    loss.boxes.backward()
    assert not corrections.grad.any()


def test_loss_gradients():
    generator = torch.Generator().manual_seed(1)
    logits, corrections = (
        torch.randn(shape, dtype=DOUBLE, generator=generator, requires_grad=True)
        for shape in ((4, 3), (4, 3, 4))
    )
    wanted = 3 * torch.randn(4, 4, dtype=DOUBLE, generator=generator)
    labels = torch.tensor([0, 2, 1, 0])
    assert torch.autograd.gradcheck(
        lambda a, b: sum(fast_rcnn_loss(a, b, labels, wanted)), (logits, corrections)
    )


def test_loss_refuses_what_does_not_fit():
    with pytest.raises(
        ValueError, match=r"labels \(R,\) and wanted \(R, 4\), got \(2, 3, 4\), \(3,"
    ):
        fast_rcnn_loss(torch.zeros(2, 3), torch.zeros(2, 3, 4), torch.zeros(3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="need R >= 1 regions"):
        fast_rcnn_loss(torch.zeros(0, 3), torch.zeros(0, 3, 4), torch.zeros(0), torch.zeros(0, 4))


# --- sampling and target statistics --------------------------------------------------------------


def test_background_overlaps_a_little_and_foreground_is_a_quarter():
    target = {"boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0]]), "labels": torch.tensor([5])}
    heights = torch.tensor([10, 9, 8, 7, 6, 5, 4.9, 4, 3, 2, 1, 0.9, 0.5]).repeat_interleave(10)
    zeros = torch.zeros_like(heights)
    proposals = torch.stack([zeros, zeros, zeros + 10, heights], 1)
    sample = sample_regions(proposals, target, 64, lowest=0.1)
    tall = sample.boxes[:, 3]
    assert (sample.labels == 5).sum() == 16
    assert (tall[sample.labels == 5] >= 5).all()
    assert len(sample.labels) == 64
    assert (tall[sample.labels == 0] < 5).all()
    assert (tall[sample.labels == 0] >= 1).all()


def test_fitted_targets_have_mean_zero_and_variance_one_per_class():
    scenes = box_scenes(12, seed=2)
    targets = targets_of(scenes)
    generator = torch.Generator().manual_seed(0)
    proposals = [
        b.repeat(6, 1) + 2 * torch.rand(6 * len(b), 4, generator=generator) for b in scenes.boxes
    ]
    net = FastRCNN.miniature(5)  # nobody has label 4
    before = net.target_std[4].clone()
    net.fit_targets(targets, proposals)
    rows = {1: [], 2: [], 3: []}
    for target, boxes in zip(targets, proposals):
        sample = sample_regions(boxes, target, 10_000)
        for label, objects, region in zip(sample.labels.tolist(), sample.objects, sample.boxes):
            if label:
                t = (encode(objects, region) - net.target_mean[label]) / net.target_std[label]
                rows[label].append(t)
    # A quarter of the sample at most is foreground: every pair counts only if nothing was left out.
    assert sum(map(len, rows.values())) > 80
    for label, found in rows.items():
        found = torch.stack(found)
        torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=1e-4, rtol=0, msg=str(label))
        torch.testing.assert_close(found.std(0), torch.ones(4), atol=1e-3, rtol=0)
    assert torch.equal(net.target_std[4], before)


def test_loss_method_wants_normalised_corrections(monkeypatch):
    net = FastRCNN.miniature(3)
    net.target_mean[2], net.target_std[2] = torch.tensor([0.1, 0, 0, 0]), torch.full((4,), 0.5)
    target = {"boxes": torch.tensor([[4.0, 4.0, 24.0, 24.0]]), "labels": torch.tensor([2])}
    seen = {}

    def spy(logits, corrections, labels, wanted, *, lam):
        seen.update(labels=labels, wanted=wanted)
        return fast_rcnn_loss(logits, corrections, labels, wanted, lam=lam)

    monkeypatch.setattr("course.models.fast_rcnn.fast_rcnn_loss", spy)
    net.loss(torch.rand(1, 3, 32, 40), [target], [torch.tensor([[4.0, 4.0, 24.0, 9.0]])])
    assert seen["labels"].tolist() == [2, 0]
    torch.testing.assert_close(seen["wanted"][0], torch.tensor([-0.2, 0, 0, 0]))


# --- detection -----------------------------------------------------------------------------------


class Known(FastRCNN):
    """Answers regions with given logits and corrections, and remembers what it was asked."""

    def forward(self, images, regions):
        self.asked = images.shape, regions
        n = sum(map(len, regions))
        return self.logits.expand(n, -1), self.corrections.expand(n, -1, -1)


def known(logits, sides=None):
    net = Known(len(logits), width=1, stages=1, pool_size=1, sides=sides)
    net.logits, net.corrections = torch.tensor(logits), torch.zeros(len(logits), 4)
    return net


def test_detect_undoes_the_normalisation_of_the_right_class():
    net = known([0.0, 0.0, 9.0])
    net.target_mean[2] = torch.tensor([0.5, 0.0, 0.0, 0.0])
    net.target_std[2] = torch.tensor([1.0, 2.0, 1.0, 1.0])
    net.corrections[2, 1] = 0.1
    box = torch.tensor([[10.0, 20.0, 30.0, 30.0]])
    found = net.detect(torch.zeros(1, 3, 60, 90), [box])[0]
    assert found["labels"].tolist() == [2]
    torch.testing.assert_close(found["boxes"], decode(torch.tensor([[0.5, 0.2, 0.0, 0.0]]), box))


def test_images_are_scaled_to_the_published_sides_and_boxes_come_back():
    net = known([0.0, 9.0], sides=(600, 1000))
    for size, expected in [((300, 400), (600, 800)), ((300, 900), (333, 1000))]:
        box = torch.tensor([[30.0, 60.0, 90.0, 120.0]])
        found = net.detect(torch.zeros(1, 3, *size), [box])[0]
        shape, regions = net.asked
        assert tuple(shape[-2:]) == expected
        ratio = torch.tensor([expected[1] / size[1], expected[0] / size[0]]).repeat(2)
        torch.testing.assert_close(regions[0], box * ratio)
        torch.testing.assert_close(found["boxes"], box)


def test_boxes_keep_their_digits_in_half_precision(monkeypatch):
    seen, pool = [], fast_rcnn.roi_max_pool
    monkeypatch.setattr(
        fast_rcnn,
        "roi_max_pool",
        lambda maps, boxes, *rest: seen.extend(boxes) or pool(maps, boxes, *rest),
    )
    net = FastRCNN(2, width=2, stages=2, pool_size=1, sides=None).bfloat16()
    torch.nn.init.zeros_(net.box_head.weight)
    box = torch.tensor([[513.0, 100.0, 601.0, 203.0]])
    images = torch.rand(1, 3, 210, 640).bfloat16()
    found = net.detect(images, [box], score_threshold=0)[0]
    assert seen[0].tolist() == [[513, 100, 600, 202]]
    assert found["boxes"].tolist() == box.tolist()
    net.sides = (105, 400)  # and the scaling of images must not need a half-precision kernel
    assert len(net.detect(images, [box], score_threshold=0)[0]["boxes"]) == 1


def test_suppression_is_per_class_and_empty_images_are_fine():
    net = known([-9.0, 1.0, 1.0])
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [1.0, 0.0, 21.0, 20.0]])
    full, empty = net.detect(torch.zeros(2, 3, 30, 40), [boxes, torch.zeros(0, 4)])
    assert sorted(full["labels"].tolist()) == [1, 2]
    assert empty["boxes"].shape == (0, 4)
    assert empty["labels"].dtype == torch.int64


def test_all_proposals_empty_runs_through_the_whole_network():
    net = FastRCNN.miniature()
    found = net.detect(torch.zeros(2, 3, 32, 40), [torch.zeros(0, 4)] * 2)
    assert [len(one["scores"]) for one in found] == [0, 0]
    assert net.training


def test_every_parameter_trains_on_a_non_square_batch():
    torch.manual_seed(0)
    scenes = box_scenes(2, (40, 64), seed=3)
    net = FastRCNN.miniature()
    terms = net.loss(
        scenes.images, targets_of(scenes), [propose(image, "windows") for image in scenes.images]
    )
    assert list(terms) == ["classes", "boxes"]
    sum(terms.values()).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


def test_freezing_and_learning_rates_follow_the_paper():
    net = FastRCNN(4, width=2, pool_size=2)
    net.freeze()
    frozen = [not next(stage.parameters()).requires_grad for stage in net.stages]
    assert frozen == [True, True, False, False, False]
    weights, biases = net.parameter_groups(1e-3)
    assert (weights["lr"], weights["weight_decay"]) == (1e-3, 5e-4)
    assert (biases["lr"], biases["weight_decay"]) == (2e-3, 0)
    assert all(p.ndim == 1 for p in biases["params"])
    trained = [p for p in net.parameters() if p.requires_grad]
    assert len(weights["params"]) + len(biases["params"]) == len(trained)


def test_frozen_stages_do_not_move_their_statistics():
    net = FastRCNN.miniature()
    net.freeze()
    net.train()
    before = [value.clone() for value in net.stages.state_dict().values()]
    net(torch.rand(2, 3, 32, 32), [torch.tensor([[2.0, 2.0, 20.0, 30.0]])] * 2)
    after = net.stages.state_dict()
    moved = {key[0] for (key, value), old in zip(after.items(), before) if not value.equal(old)}
    assert moved == {"2"}
    assert net.training
    assert net.stages[2].training
    with pytest.raises(ValueError, match=r"stages must lie in \[0, 3\], got 9"):
        net.freeze(9)


# --- truncated SVD -------------------------------------------------------------------------------


def test_published_ranks_give_the_published_counts():
    with torch.device("meta"):
        net = FastRCNN()
        net.compress()
    count = sum(p.numel() for p in net.fc6.parameters() if p.ndim == 2)
    assert count == 29_884_416
    assert sum(p.numel() for p in net.fc7.parameters() if p.ndim == 2) == 2_097_152


def test_truncation_is_the_best_approximation_of_its_rank():
    torch.manual_seed(0)
    layer = torch.nn.Linear(9, 6).double()
    values = torch.linalg.svdvals(layer.weight)
    for rank in range(1, 7):
        first, second = truncated_svd(layer, rank)
        error = torch.linalg.matrix_norm(layer.weight - second.weight @ first.weight)
        torch.testing.assert_close(error, values[rank:].square().sum().sqrt(), atol=1e-6, rtol=1e-5)
        assert first.bias is None
        torch.testing.assert_close(second.bias, layer.bias)


def test_full_rank_compression_changes_nothing_and_happens_once():
    torch.manual_seed(0)
    net = FastRCNN.miniature(4, width=2).eval()
    images, regions = torch.rand(1, 3, 32, 32), [torch.tensor([[2.0, 2.0, 20.0, 30.0]])]
    before = net(images, regions)
    with pytest.raises(ValueError, match=r"rank must lie in \[1, 128\]"):
        net.compress(20, 129)  # and fc6 must not be replaced then
    net.compress(128, 128)
    for a, b in zip(before, net(images, regions)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    other = FastRCNN.miniature(4, width=2)
    other.compress(128, 128)
    other.load_state_dict(net.state_dict())
    with pytest.raises(ValueError, match="fc6 is compressed already"):
        net.compress()
    with pytest.raises(ValueError, match=r"rank must lie in \[1, 3\]"):
        truncated_svd(torch.nn.Linear(5, 3), 4)


@pytest.mark.slow
def test_a_handful_of_scenes_is_learnt(record_property):
    torch.manual_seed(0)
    scenes = box_scenes(8, seed=0)
    targets, net = targets_of(scenes), FastRCNN.miniature()
    proposals = [propose(image) for image in scenes.images]
    net.fit_targets(targets, proposals)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        terms = net.loss(scenes.images, targets, proposals, regions=32, generator=generator)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    result = mean_average_precision(net.detect(scenes.images, proposals), targets).mean
    record_property("mAP50", result)
    assert result > 0.95


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_everything_stays_on_the_gpu():
    scenes = box_scenes(2, seed=3).to("cuda")
    net = FastRCNN.miniature().cuda()
    proposals = [propose(image, "windows") for image in scenes.images]
    terms = net.loss(scenes.images, targets_of(scenes), proposals)
    assert all(t.is_cuda for t in terms.values())
    found = net.detect(scenes.images, proposals, score_threshold=0)
    assert all(t.is_cuda for one in found for t in one.values())
