"""YOLO against the paper's arithmetic, a loop over cells, and the usual mistakes."""

import math

import pytest
import torch

from course.boxes import mean_average_precision
from course.data import boxes as box_scenes
from course.models import YOLO
from course.models.yolo import decode_grid, make_targets, responsible, yolo_loss

DOUBLE = torch.float64


# --- the network ---------------------------------------------------------------------------------


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_published_network_has_the_published_size():
    with torch.device("meta"):
        net = YOLO()
        assert count(net) == 271_703_550
        assert count(net.features) == 60_155_968
        assert sum(isinstance(m, torch.nn.Conv2d) for m in net.modules()) == 24
        images = torch.empty(2, 3, 448, 448)
        assert net.features(images).shape == (2, 1024, 7, 7)
        assert net(images).shape == (2, 7, 7, 30)


def test_batch_norm_variant_has_the_size_of_bias_free_convolutions():
    with torch.device("meta"):
        assert count(YOLO(batch_norm=True)) == 271_716_734


@pytest.mark.parametrize(
    ("block", "size"), [(2, 112), (4, 56), (9, 28), (20, 14), (26, 7), (28, 7)]
)
def test_published_feature_sizes(block, size):
    # Positions in the layer list after which figure 3 states the size of the map.
    with torch.device("meta"):
        net = YOLO()
        out = torch.empty(1, 3, 448, 448)
        for layer in net.features[:block]:
            out = layer(out)
    assert out.shape[-2:] == (size, size)


def test_last_layer_is_linear():
    net = YOLO(2, S=2, B=1, image_size=64, width=4, hidden=8).eval()
    values = net(torch.rand(8, 3, 64, 64) * 9)
    assert (values < 0).any()
    assert isinstance(net.head[-1], torch.nn.Linear)


@pytest.mark.parametrize("hidden", [None, 16])
def test_width_and_grid_scale_the_network(hidden):
    layers = ((3, 64, 1), "pool", (3, 128, 2))
    net = YOLO(4, S=5, B=3, image_size=20, width=8, layers=layers, hidden=hidden)
    assert net.features[0][0].out_channels == 8
    assert net(torch.zeros(2, 3, 20, 20)).shape == (2, 5, 5, 19)


def test_rows_come_before_columns():
    # Light at the lower left of a network that only looks locally must show in row 5, column 0.
    net = YOLO.miniature().eval()
    dark, light = torch.zeros(1, 3, 48, 48), torch.zeros(1, 3, 48, 48)
    light[..., 47, 0] = 1
    changed = (net(dark) != net(light)).any(-1)[0]
    assert changed[5, 0]
    assert not changed[0, 5]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="6 x 6 where hidden is None"):
        YOLO(3, S=6, image_size=64, layers=((3, 64, 1), "pool"), hidden=None)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        YOLO(3, image_size=16, width=4)
    with pytest.raises(ValueError, match="B must be at least 1, got 0"):
        YOLO(3, B=0)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(3, 48, 48), ValueError, r"images\[None\]"),
        (torch.zeros(1, 1, 48, 48), ValueError, r"\(B, 3, H, W\)"),
        (torch.zeros(1, 3, 48, 48, dtype=torch.uint8), TypeError, "255"),
        (torch.zeros(1, 3, 40, 48), ValueError, "48 x 48 pixels, got 40 x 48"),
    ],
)
def test_wrong_images_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        YOLO.miniature()(images)


# --- targets -------------------------------------------------------------------------------------


def test_targets_on_a_non_square_image_by_hand():
    # 120 high, 60 wide, S = 3: cells are 40 high and 20 wide. Centre (50, 30) is column 2, row 0.
    grid = make_targets(
        torch.tensor([[45.0, 20.0, 55.0, 40.0]]), torch.tensor([3]), (120, 60), S=3, num_classes=4
    )
    expected = torch.tensor([0.5, 0.75, math.sqrt(10 / 60), math.sqrt(20 / 120), 1, 0, 0, 1, 0])
    torch.testing.assert_close(grid[0, 2], expected)
    grid[0, 2] = 0
    assert not grid.any()


def test_the_cell_is_that_of_the_centre_not_of_the_corner():
    grid = make_targets(
        torch.tensor([[0.0, 0.0, 50.0, 70.0]]), torch.tensor([1]), (70, 70), num_classes=1
    )
    assert grid[..., 4].nonzero().tolist() == [[3, 2]]


def test_a_later_object_does_not_erase_the_first():
    boxes = torch.tensor([[10.0, 10.0, 20.0, 20.0], [8.0, 8.0, 30.0, 24.0], [50.0, 50, 60, 60]])
    grid = make_targets(boxes, torch.tensor([2, 1, 1]), (64, 64), S=2, num_classes=2)
    torch.testing.assert_close(grid[0, 0, 2], torch.tensor(math.sqrt(10 / 64)))
    assert grid[0, 0, 5:].tolist() == [0, 1]
    assert grid[..., 4].tolist() == [[1, 0], [0, 1]]


def test_no_objects_and_a_centre_on_the_far_border():
    assert not make_targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), (9, 9)).any()
    grid = make_targets(torch.tensor([[9.0, 9.0, 9.0, 9.0]]), torch.tensor([1]), (9, 9), S=3)
    assert grid[2, 2, 4] == 1


@pytest.mark.parametrize(
    ("boxes", "labels", "message"),
    [
        ([[0.0, 0.0, 4.0, 4.0]], [21], r"1 ... 20, got \[21\]"),
        ([[0.0, 0.0, 4.0, 4.0]], [0], "0 is background"),
        ([[4.0, 0.0, 0.0, 4.0]], [1], r"order is \(x0, y0, x1, y1\)"),
        ([[0.1, 0.1, 0.5, 1.0]], [1], "multiply relative boxes by its width and height"),
        ([[0.0, 0.0, 4.0, 4.0], [600.0, 0.0, 900.0, 4.0]], [1, 1], r"\[600.0.* lies outside"),
        ([[math.nan, 0.0, 0.0, 4.0]], [1], "finite"),
        ([[0.0, 0.0, 4.0, 4.0]], [1, 1], r"labels must be \(1,\), got \(2,\)"),
        ([[0.0, 0.0, 4.0]], [1], r"\(N, 4\)"),
    ],
)
def test_bad_targets_are_refused(boxes, labels, message):
    with pytest.raises(ValueError, match=message):
        make_targets(torch.tensor(boxes), torch.tensor(labels), (8, 8))


# --- the loss ------------------------------------------------------------------------------------


def worked_target(S=1, C=20):
    target = torch.zeros(1, S, S, 5 + C, dtype=DOUBLE)
    target[0, 0, 0, :6] = torch.tensor([0.5, 0.5, 0.5, 0.6, 1, 1])
    return target


@pytest.mark.parametrize(("confidence", "total"), [("iou", 6.55), ("one", 7.55)])
def test_worked_example(confidence, total):
    loss = yolo_loss(torch.zeros(1, 1, 1, 30, dtype=DOUBLE), worked_target(), confidence=confidence)
    terms = [term.item() for term in loss]
    object_term = 1.0 if confidence == "one" else 0.0
    assert terms == pytest.approx([2.5, 3.05, object_term, 0.0, 1.0])
    assert loss.total.item() == pytest.approx(total)


def loop_loss(prediction, target, B, confidence):
    """The equation, cell by cell and box by box, in plain Python."""
    N, S = prediction.shape[:2]
    terms = dict.fromkeys(("centre", "size", "object", "no_object", "classes"), 0.0)
    for n in range(N):
        for i in range(S):
            for j in range(S):
                cell, want = prediction[n, i, j], target[n, i, j]
                boxes = [cell[5 * b : 5 * b + 5] for b in range(B)]
                best = None
                if want[4] == 1:
                    overlaps = [scalar_iou(box, want, S) for box in boxes]
                    best = max(range(B), key=lambda b: overlaps[b])
                    terms["classes"] += sum((cell[5 * B :] - want[5:]) ** 2)
                for b, box in enumerate(boxes):
                    if b == best:
                        terms["centre"] += 5 * sum((box[:2] - want[:2]) ** 2)
                        terms["size"] += 5 * sum((box[2:4] - want[2:4]) ** 2)
                        goal = overlaps[b] if confidence == "iou" else 1.0
                        terms["object"] += (box[4] - goal) ** 2
                    else:
                        terms["no_object"] += 0.5 * box[4] ** 2
    return {name: float(value) / N for name, value in terms.items()}


def scalar_iou(a, b, S):
    ax, ay, aw, ah = a[0] / S, a[1] / S, a[2] ** 2, a[3] ** 2
    bx, by, bw, bh = b[0] / S, b[1] / S, b[2] ** 2, b[3] ** 2
    w = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    h = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    shared = max(w, 0) * max(h, 0)
    return float(shared / (aw * ah + bw * bh - shared))


@pytest.mark.parametrize("confidence", ["iou", "one"])
@pytest.mark.parametrize("B", [1, 2, 3])
def test_loss_equals_the_equation_cell_by_cell(B, confidence):
    generator = torch.Generator().manual_seed(B)
    S, C = 3, 4
    boxes = [
        torch.tensor([[5.0, 2.0, 60.0, 40.0], [50.0, 60.0, 95.0, 79.0]], dtype=DOUBLE),
        torch.tensor([[30.0, 30.0, 70.0, 50.0]], dtype=DOUBLE),
        torch.zeros(0, 4, dtype=DOUBLE),
    ]
    labels = [torch.tensor([4, 1]), torch.tensor([2]), torch.zeros(0, dtype=torch.long)]
    target = torch.stack(
        [make_targets(b, k, (80, 100), S=S, num_classes=C) for b, k in zip(boxes, labels)]
    )
    prediction = torch.rand(3, S, S, 5 * B + C, dtype=DOUBLE, generator=generator)
    found = yolo_loss(prediction, target, B=B, confidence=confidence)
    expected = loop_loss(prediction, target, B, confidence)
    assert {k: v.item() for k, v in found._asdict().items()} == pytest.approx(expected)


def test_loss_weights_act_on_their_own_terms():
    prediction, target = torch.rand(1, 1, 1, 30, dtype=DOUBLE), worked_target()
    one, other = (yolo_loss(prediction, target, coord=c, no_object=n) for c, n in [(1, 1), (3, 7)])
    ratios = [(b / a).item() for a, b in zip(one, other)]
    assert ratios == pytest.approx([3, 3, 1, 7, 1])


def test_the_second_box_of_an_object_cell_is_told_to_be_silent():
    prediction = torch.zeros(1, 1, 1, 30, dtype=DOUBLE)
    prediction[..., 5:10] = torch.tensor([0.5, 0.5, 0.5, 0.6, 1.0])  # the second box is perfect
    prediction[..., 4] = 2.0  # the first one is loud
    loss = yolo_loss(prediction, worked_target())
    assert loss.no_object.item() == pytest.approx(0.5 * 4)
    assert loss.object.item() == pytest.approx(0)
    assert loss.centre.item() == loss.size.item() == 0


def test_empty_cells_teach_confidence_and_nothing_else():
    prediction = torch.rand(2, 3, 3, 12, dtype=DOUBLE, requires_grad=True)
    yolo_loss(prediction, torch.zeros(2, 3, 3, 7, dtype=DOUBLE)).total.backward()
    silent = torch.zeros(12, dtype=torch.bool)
    silent[[4, 9]] = True
    assert (prediction.grad[..., silent] != 0).all()
    assert not prediction.grad[..., ~silent].any()


def test_class_term_counts_once_for_a_cell_whatever_b_is():
    target = worked_target(C=3)
    for B in (1, 2, 5):
        prediction = torch.zeros(1, 1, 1, 5 * B + 3, dtype=DOUBLE)
        assert yolo_loss(prediction, target, B=B).classes.item() == 1


def test_loss_is_finite_for_negative_and_zero_sizes():
    for value in (-0.7, 0.0):
        prediction = torch.full((1, 1, 1, 30), value, requires_grad=True)
        loss = yolo_loss(prediction, worked_target().float()).total
        loss.backward()
        assert loss.isfinite()
        assert prediction.grad.isfinite().all()
        assert prediction.grad.abs().max() < 100


def test_gradients_and_the_iou_is_a_constant_target():
    prediction = (torch.rand(2, 2, 2, 13, dtype=DOUBLE) + 0.1).requires_grad_()
    boxes = torch.tensor([[1.0, 2.0, 9.0, 7.0]], dtype=DOUBLE)
    target = make_targets(boxes, torch.tensor([2]), (10, 12), S=2, num_classes=3)
    target = target.expand(2, -1, -1, -1)
    assert torch.autograd.gradcheck(
        lambda p: yolo_loss(p, target, confidence="one").total, prediction
    )
    # With the IoU as target, its own gradient must not flow: confidence is the only way in.
    yolo_loss(prediction, target).object.backward()
    moved = prediction.grad.abs().sum((0, 1, 2)) > 0
    assert set(moved.nonzero().flatten().tolist()) <= {4, 9}


def test_responsible_box_is_the_best_overlap_not_the_first():
    truth = torch.tensor([0.5, 0.5, 0.5, 0.5])
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.55, 0.5, 0.5, 0.5], [0.0, 0.0, 0.1, 0.1]])
    index, iou = responsible(boxes, truth)
    assert index == 1
    torch.testing.assert_close(iou, torch.tensor([0.04**2 / 0.25**2, 0.2 / 0.3, 0.0]))


def test_where_no_box_overlaps_the_nearest_is_responsible():
    truth = torch.tensor([0.9, 0.9, 0.1, 0.1])
    boxes = torch.tensor([[0.1, 0.1, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]])
    assert responsible(boxes, truth)[0] == 1
    assert responsible(boxes.flip(0), truth)[0] == 0


def test_loss_refuses_shapes_and_choices_that_do_not_fit():
    with pytest.raises(ValueError, match=r"prediction of shape \(1, 1, 1, 30\), got \(1, 1, 1, 35"):
        yolo_loss(torch.zeros(1, 1, 1, 35), worked_target().float())
    with pytest.raises(ValueError, match="'iou' or 'one', got 'ones'"):
        yolo_loss(torch.zeros(1, 1, 1, 30), worked_target().float(), confidence="ones")


# --- decoding ------------------------------------------------------------------------------------


def loop_decode(prediction, size, B):
    """What a student writes first: a loop over cells."""
    S, height, width = len(prediction), *size
    boxes, scores = [], []
    for row in range(S):
        for column in range(S):
            cell = prediction[row, column]
            for b in range(B):
                x, y, w, h, confidence = cell[5 * b : 5 * b + 5].tolist()
                cx, cy = (column + x) / S * width, (row + y) / S * height
                w, h = w * w * width, h * h * height
                boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                scores.append((cell[5 * B :].clamp(min=0) * max(confidence, 0)).tolist())
    return torch.tensor(boxes, dtype=DOUBLE), torch.tensor(scores, dtype=DOUBLE)


@pytest.mark.parametrize(("S", "B", "C"), [(1, 1, 1), (3, 2, 4), (7, 2, 20)])
def test_decoding_equals_the_loop(S, B, C):
    prediction = torch.randn(2, S, S, 5 * B + C, dtype=DOUBLE)
    boxes, scores = decode_grid(prediction, (90, 160), B=B)
    for n in range(2):
        expected = loop_decode(prediction[n], (90, 160), B)
        torch.testing.assert_close(boxes[n], expected[0])
        torch.testing.assert_close(scores[n], expected[1])


def test_targets_decode_to_the_boxes_they_came_from():
    boxes = torch.tensor([[5.0, 2.0, 60.0, 40.0], [50.0, 61.0, 95.0, 79.0]])
    labels = torch.tensor([4, 1])
    grid = make_targets(boxes, labels, (80, 100), S=4, num_classes=5)
    decoded, scores = decode_grid(grid, (80, 100), B=1)
    rows = scores.max(1).values.nonzero().flatten()
    torch.testing.assert_close(decoded[rows], boxes)
    assert scores[rows].argmax(1).tolist() == [3, 0]


def test_score_needs_both_factors_and_two_negatives_make_none():
    cell = torch.tensor([0.5, 0.5, 0.5, 0.5, -0.9, -0.9, 0.9])
    assert not decode_grid(cell.expand(1, 1, 7), (8, 8), B=1)[1].any()
    cell = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5, -0.9, 0.8])
    torch.testing.assert_close(
        decode_grid(cell.expand(1, 1, 7), (8, 8), B=1)[1], torch.tensor([[0.0, 0.4]])
    )


def test_decoding_refuses_other_shapes():
    with pytest.raises(ValueError, match="must be square"):
        decode_grid(torch.zeros(3, 4, 12), (8, 8))
    with pytest.raises(ValueError, match=r"10 \+ C"):
        decode_grid(torch.zeros(3, 3, 10), (8, 8))


# --- the whole path ------------------------------------------------------------------------------


class Canned(torch.nn.Module):
    """Answers every image with the same grid."""

    def __init__(self, grid):
        super().__init__()
        self.grid = grid

    def forward(self, x):
        return self.grid.permute(2, 0, 1).expand(len(x), -1, -1, -1)


def canned_yolo(grid, B=1):
    net = YOLO.miniature(grid.shape[-1] - 5 * B, S=len(grid), B=B)
    net.features, net.head = torch.nn.Identity(), Canned(grid)
    return net


def test_detect_returns_boxes_in_pixels_of_a_non_square_image():
    boxes = torch.tensor([[10.0, 5.0, 50.0, 25.0], [60.0, 20.0, 90.0, 39.0]])
    grid = make_targets(boxes, torch.tensor([2, 1]), (40, 100), S=6, num_classes=2)
    found = canned_yolo(grid).detect(torch.zeros(2, 3, 40, 100))
    assert len(found) == 2
    for one in found:
        order = one["boxes"][:, 0].argsort()
        torch.testing.assert_close(one["boxes"][order], boxes)
        assert one["labels"][order].tolist() == [2, 1]
        torch.testing.assert_close(one["scores"], torch.ones(2))


def test_detect_suppresses_within_a_class_only_and_clips():
    grid = torch.zeros(2, 2, 12)  # B = 2, C = 2
    grid[0, 0] = torch.tensor([0.5, 0.5, 0.9, 0.9, 0.9, 0.5, 0.55, 0.9, 0.9, 0.8, 1.0, 0.6])
    found = canned_yolo(grid, B=2).detect(torch.zeros(1, 3, 16, 16), score_threshold=0.3)[0]
    assert found["labels"].tolist() == [1, 2]  # the second box goes, but not the second class
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.54]))
    assert found["boxes"].min() == 0
    assert found["boxes"].max() <= 16


def test_detect_runs_in_evaluation_mode_and_restores_training():
    net = YOLO.miniature()
    images = torch.rand(2, 3, 48, 48)
    before = net.features[0][1].running_mean.clone()
    first, second = net.detect(images, score_threshold=0), net.detect(images[:1], score_threshold=0)
    assert net.training
    assert torch.equal(net.features[0][1].running_mean, before)
    torch.testing.assert_close(first[0]["scores"], second[0]["scores"], rtol=1e-4, atol=1e-6)


def test_loss_method_handles_any_size_and_images_without_objects():
    net = YOLO.miniature(2)
    targets = [
        {"boxes": torch.tensor([[3.0, 4.0, 30.0, 20.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)},
    ]
    terms = net.loss(torch.rand(2, 3, 40, 70), targets)
    assert list(terms) == ["centre", "size", "object", "no_object", "classes"]
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with pytest.raises(ValueError, match="2 images need as many targets, got 1"):
        net.loss(torch.rand(2, 3, 48, 48), targets[:1])
    with pytest.raises(ValueError, match=r"labels of image 0 must lie in 1 \.\.\. 2"):
        net.loss(torch.rand(1, 3, 48, 48), [{**targets[0], "labels": torch.tensor([3])}])


def test_half_precision_predictions_keep_float32_targets():
    net = YOLO.miniature(2).bfloat16()
    target = {"boxes": torch.tensor([[3.0, 4.0, 30.0, 20.0]]), "labels": torch.tensor([1])}
    terms = net.loss(torch.rand(1, 3, 48, 48).bfloat16(), [target])
    assert {t.dtype for t in terms.values()} == {torch.float32}
    found = net.detect(torch.rand(1, 3, 48, 48).bfloat16(), score_threshold=0)
    assert found[0]["boxes"].dtype == torch.float32


def test_half_precision_is_decoded_and_resized_in_float32():
    box, label, size = (
        torch.tensor([[400.0, 300.0, 1511.0, 901.0]]),
        torch.tensor([1]),
        (1080, 1920),
    )
    grid = make_targets(box, label, size, S=6, num_classes=1).bfloat16()
    boxes, scores = decode_grid(grid.float(), size, B=1)
    images = torch.zeros(1, 3, *size, dtype=torch.bfloat16)
    found = canned_yolo(grid).bfloat16().detect(images)[0]
    torch.testing.assert_close(found["boxes"], boxes[scores[:, 0] > 0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_everything_stays_on_the_gpu():
    net = YOLO.miniature().cuda()
    target = {
        "boxes": torch.tensor([[3.0, 4.0, 30.0, 20.0]]).cuda(),
        "labels": torch.tensor([1]).cuda(),
    }
    images = torch.rand(1, 3, 48, 48).cuda()
    assert all(t.is_cuda for t in net.loss(images, [target]).values())
    assert all(t.is_cuda for t in net.detect(images, score_threshold=0)[0].values())


@pytest.mark.slow
@pytest.mark.parametrize("confidence", ["iou", "one"])
def test_miniature_learns_scenes_and_finds_shapes_it_never_saw(confidence, record_property):
    scenes, held_out = box_scenes(300, seed=0), box_scenes(60, seed=1)
    targets = [{"boxes": b, "labels": k} for b, k in zip(scenes.boxes, scenes.labels)]
    net, steps = YOLO.miniature(), 400
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    for _ in range(steps):
        batch = torch.randperm(len(scenes))[:16].tolist()
        terms = net.loss(scenes.images[batch], [targets[i] for i in batch], confidence=confidence)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        schedule.step()
    results = {}
    for name, part in (("seen", scenes[:60]), ("new", held_out)):
        truth = [{"boxes": b, "labels": k} for b, k in zip(part.boxes, part.labels)]
        found = net.detect(part.images, score_threshold=0.01)
        results[name] = mean_average_precision(found, truth).mean
    record_property("mAP50", results)
    print(confidence, results)
    assert results["seen"] > 0.85
    assert results["new"] > 0.75
