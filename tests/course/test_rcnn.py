"""R-CNN: warping against crop-and-resize, targets by hand, solved stages against closed forms."""

import math

import pytest
import torch
from torch.nn import functional as F

from course.boxes import box_iou, encode, mean_average_precision
from course.data import boxes as box_scenes
from course.models import RCNN
from course.models.detection import sample_regions
from course.models.rcnn import warp_regions
from course.models.rcnn_stages import (
    fit_ridge,
    fit_stages,
    fit_svm,
    regression_targets,
    svm_targets,
)
from course.proposals import propose


def targets_of(scenes):
    return [{"boxes": b, "labels": k} for b, k in zip(scenes.boxes, scenes.labels)]


# --- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "parameters"), [(21, 56_954_261), (1000, 60_965_224), (201, 57_691_721)]
)
def test_published_network_has_the_published_size(classes, parameters):
    with torch.device("meta"):
        net = RCNN(classes)
        assert sum(p.numel() for p in net.parameters()) == parameters
        pooled, top = net.describe(torch.empty(2, 3, 227, 227))
        assert pooled.shape == (2, 9216)
        assert top.shape == (2, 4096)
        assert net(torch.empty(2, 3, 227, 227)).shape == (2, classes)


def test_published_feature_sizes():
    with torch.device("meta"):
        out, sizes = torch.empty(1, 3, 227, 227), []
        for layer in RCNN().features[:-1]:
            out = layer(out)
            if isinstance(layer, torch.nn.Conv2d | torch.nn.MaxPool2d):
                sizes.append((out.shape[1], out.shape[2]))
    assert sizes == [
        *((96, 55), (96, 27), (256, 27), (256, 13)),
        *((384, 13), (384, 13), (256, 13), (256, 6)),
    ]


def test_normalisation_is_caffes_on_maps_255_times_larger():
    x = torch.randn(1, 7, 2, 3)
    found = RCNN.miniature().features[3](x)
    x = 255 * x
    for c in range(7):
        near = x[:, max(c - 2, 0) : c + 3].square().sum(1)
        torch.testing.assert_close(255 * found[:, c], x[:, c] / (1 + 1e-4 / 5 * near) ** 0.75)


def test_width_and_crop_scale_the_network():
    net = RCNN(5, width=6, crop=67)
    assert net(torch.zeros(2, 3, 67, 67)).shape == (2, 5)
    with pytest.raises(ValueError, match="multiple of 6, got 8"):
        RCNN(width=8)
    with pytest.raises(ValueError, match="at least 67 pixels, got 66"):
        RCNN(width=6, crop=66)
    with pytest.raises(ValueError, match=r"num_classes must be at least 1, got 0"):
        RCNN(1)


# --- warping -------------------------------------------------------------------------------------


def test_warping_equals_crop_and_resize_where_nothing_is_outside():
    torch.manual_seed(0)
    image = torch.rand(3, 60, 80, dtype=torch.float64)
    box = torch.tensor([[23.0, 17.0, 49.0, 37.0]], dtype=torch.float64)  # 26 wide, 20 high
    # With context 4 of 30 pixels the box grows by 30 / 22 about its centre: 3 pixels short of
    # whole numbers, so choose a size where it does not: 20 / (20 - 2 * 5) = 2.
    found = warp_regions(image, box, size=20, context=5, fill=(0, 0, 0))
    crop = image[None, :, 7:47, 10:62]  # twice the size about (36, 27)
    expected = F.interpolate(crop, (20, 20), mode="bilinear", align_corners=False)
    # Crop and resize repeat the border of the crop; warping looks beyond it. Compare inside.
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_context_is_measured_in_the_warped_frame():
    # A white box on black: in a 227 frame it must fill exactly the pixels 16 ... 210, whatever its
    # own size and shape. Padding 16 pixels in the image would shrink small boxes to nothing.
    for x0, y0, x1, y1 in [(100, 100, 120, 180), (150, 60, 310, 260)]:
        image = torch.zeros(1, 400, 400)
        image[:, y0:y1, x0:x1] = 1
        box = torch.tensor([[x0, y0, x1, y1]]).float()
        warped = warp_regions(image, box, fill=[0.0])[0, 0]
        bright = (warped > 0.5).nonzero()
        assert bright.amin(0).tolist() == [16, 16]
        assert bright.amax(0).tolist() == [210, 210]


def test_outside_the_image_is_the_mean_colour():
    image = torch.ones(3, 40, 40)
    fill = torch.tensor([0.2, 0.4, 0.6])
    warped = warp_regions(image, torch.tensor([[0.0, 0.0, 20.0, 20.0]]), fill=fill)[0]
    # 16 of 227 pixels at the left and at the top lie outside.
    torch.testing.assert_close(warped[:, 3, 100], fill)
    torch.testing.assert_close(warped[:, 100, 15], fill)
    torch.testing.assert_close(warped[:, 16:, 16:], torch.ones(3, 211, 211))


def test_warping_is_anisotropic_and_keeps_axes_apart():
    image = torch.zeros(2, 30, 50)
    image[0] = torch.arange(50.0)  # the column
    image[1] = torch.arange(30.0)[:, None]  # the row
    found = warp_regions(
        image, torch.tensor([[10.0, 4.0, 40.0, 16.0]]), size=6, context=0, fill=[0, 0]
    )[0]
    columns, rows = 10 + (torch.arange(6) + 0.5) * 5 - 0.5, 4 + (torch.arange(6) + 0.5) * 2 - 0.5
    torch.testing.assert_close(found[0], columns.expand(6, 6))
    torch.testing.assert_close(found[1], rows[:, None].expand(6, 6))


def test_warping_several_boxes_none_and_bad_ones():
    torch.manual_seed(0)
    image = torch.rand(3, 30, 50)
    boxes = torch.tensor([[10.0, 4.0, 40.0, 16.0], [-5.0, -5.0, 5.0, 60.0]])
    both = warp_regions(image, boxes, size=33, context=4)
    for box, warped in zip(boxes, both):
        torch.testing.assert_close(warp_regions(image, box[None], size=33, context=4)[0], warped)
    assert warp_regions(image, boxes[:0], size=33).shape == (0, 3, 33, 33)
    half = warp_regions(image.bfloat16(), boxes, size=33, context=4)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), both, atol=0.01, rtol=0)
    with pytest.raises(
        ValueError, match=r"context must lie in \[0, size / 2\), got 16 for size 32"
    ):
        warp_regions(image, boxes, size=32)
    with pytest.raises(ValueError, match=r"order is \(x0, y0, x1, y1\)"):
        warp_regions(image, boxes.flip(1))
    with pytest.raises(ValueError, match=r"each of the image's 1 channels, got 3"):
        warp_regions(image[:1], boxes)
    assert warp_regions(image[:1], boxes, size=33, fill=[0.0]).shape == (2, 1, 33, 33)
    with pytest.raises(ValueError, match=r"image must be floats \(C, H, W\)"):
        warp_regions(image[None], boxes)


# --- targets and sampling ------------------------------------------------------------------------


def test_worked_example_of_the_regression_target():
    proposal = torch.tensor([[40.0, 30.0, 60.0, 70.0]])  # centre (50, 50), 20 wide, 40 high
    truth = torch.tensor([[40.0, 36.0, 70.0, 56.0]])  # centre (55, 46), 30 wide, 20 high
    expected = torch.tensor([[0.25, -0.1, 0.405465, -0.693147]])
    torch.testing.assert_close(encode(truth, proposal), expected)


def test_fine_tuning_samples_a_quarter_foreground_with_its_labels():
    target = {
        "boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0], [30.0, 30.0, 50.0, 40.0]]),
        "labels": torch.tensor([4, 7]),
    }
    near = torch.tensor([[0.0, 0.0, 10.0, 5.0], [30.0, 30.0, 40.0, 40.0]]).repeat(20, 1)
    far = torch.tensor([[60.0, 60.0, 70.0, 70.0], [0.0, 0.0, 10.0, 4.9]]).repeat(50, 1)
    generator = torch.Generator().manual_seed(0)
    sample = sample_regions(torch.cat([near, far]), target, 128, generator=generator)
    assert (sample.labels > 0).sum() == 32
    assert (sample.labels == 0).sum() == 96
    overlap = box_iou(sample.boxes, target["boxes"])
    for label, column in ((4, 0), (7, 1)):
        mine = sample.labels == label
        assert (overlap[mine, column] >= 0.5).all()  # 0.5 itself is foreground
        torch.testing.assert_close(
            sample.objects[mine], target["boxes"][column].expand(int(mine.sum()), 4)
        )
    assert (overlap[sample.labels == 0].amax(1) < 0.5).all()


@pytest.mark.parametrize(
    ("images", "regions", "foreground"),
    [(1, 128, 32), (2, 128, 32), (8, 16, 4), (43, 128, 32), (64, 128, 32), (8, 4, 1), (3, 10, 3)],
)
def test_the_quota_of_foreground_is_one_of_the_batch(monkeypatch, images, regions, foreground):
    target = {"boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0]]), "labels": torch.tensor([2])}
    proposals = torch.tensor([[0.0, 0, 10, 9], [20, 20, 30, 30]]).repeat(100, 1)
    net, seen = RCNN.miniature(3), []
    monkeypatch.setattr(
        RCNN, "warp", lambda self, image, boxes: seen.append(boxes) or boxes.new_zeros(len(boxes))
    )
    monkeypatch.setattr(RCNN, "forward", lambda self, crops: crops.new_zeros(len(crops), 3))
    batch = torch.zeros(images, 3, 40, 40), [target] * images, [proposals] * images
    net.loss(*batch, regions=regions)
    near = [int((box_iou(boxes, target["boxes"]) >= 0.5).sum()) for boxes in seen]
    assert sum(map(len, seen)) == regions
    assert sum(near) == foreground
    assert max(near) - min(near) <= 1
    assert max(map(len, seen)) - min(map(len, seen)) <= 1


def test_true_boxes_are_foreground_and_images_without_objects_are_background():
    target = {"boxes": torch.tensor([[5.0, 5.0, 15.0, 25.0]]), "labels": torch.tensor([2])}
    sample = sample_regions(torch.zeros(0, 4), target, 8)
    assert sample.boxes.tolist() == target["boxes"].tolist()
    assert sample.labels.tolist() == [2]
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    sample = sample_regions(torch.rand(6, 4).cumsum(1), nothing, 4, lowest=0.1)
    assert sample.labels.tolist() == [0] * 4
    assert sample_regions(torch.zeros(0, 4), nothing, 4).boxes.shape == (0, 4)


def test_svm_sees_true_boxes_as_positives_and_low_overlaps_as_negatives():
    target = {
        "boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0], [40.0, 40.0, 60.0, 60.0]]),
        "labels": torch.tensor([1, 2]),
    }
    proposals = torch.tensor(
        [[0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 4.0], [0.0, 0.0, 10.0, 2.9], [40, 40, 60, 45.0]]
    )
    labels = svm_targets(proposals, target, 3)
    assert labels[:, 0].tolist() == [1, -1, 0, 0, -1, -1]  # IoU .9 and .4 are ignored, .29 not
    assert labels[:, 1].tolist() == [-1, 1, -1, -1, -1, -1]
    assert labels[:, 2].tolist() == [-1] * 6


def test_box_regression_learns_from_near_pairs_only():
    target = {
        "boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]]),
        "labels": torch.tensor([3, 1]),
    }
    regions = torch.tensor(
        [[0.0, 0.0, 10.0, 6.0], [0.0, 0, 10, 7], [20.0, 0, 30, 8], [50, 0, 60, 9]]
    )
    owner, wanted = regression_targets(regions, target)
    assert owner.tolist() == [0, 3, 1, 0]  # an IoU of exactly 0.6 is not above it
    torch.testing.assert_close(wanted[1], torch.tensor([0.0, 1.5 / 7, 0.0, math.log(10 / 7)]))
    assert not wanted[[0, 3]].any()


# --- solved stages -------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "f"), [(40, 7), (6, 30)])
def test_ridge_equals_least_squares_with_penalty_rows(n, f):
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, f, generator=generator, dtype=torch.float64) + 3
    t = torch.randn(n, 4, generator=generator, dtype=torch.float64) - 1
    weight, bias = fit_ridge(x, t, 2.5)
    # The same problem as ordinary least squares: sqrt(lambda) w = 0 in f further equations.
    rows = torch.cat([torch.cat([x, torch.ones(n, 1)], 1), torch.zeros(f, f + 1)]).double()
    rows[n:, :f] = math.sqrt(2.5) * torch.eye(f)
    expected = torch.linalg.lstsq(rows, torch.cat([t, torch.zeros(f, 4)]), driver="gelsd").solution
    torch.testing.assert_close(weight, expected[:f].T)
    torch.testing.assert_close(bias, expected[f])


def test_ridge_refuses_nothing():
    with pytest.raises(ValueError, match="need examples and ridge > 0, got 0 and 1"):
        fit_ridge(torch.zeros(0, 3), torch.zeros(0, 4), 1)


def test_svm_reaches_the_minimum_of_its_objective():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    y = torch.where(x[:, 0] + 0.5 * x[:, 1] + 0.3 > 0, 1, -1)
    y[:4] *= -1
    weight, bias = fit_svm(x, y, C=0.7, positive_weight=2)

    def objective(w, b):
        cost = torch.where(y > 0, 1.4, 0.7)
        return w @ w / 2 + (cost * (1 - y * (x @ w + b)).clamp(min=0) ** 2).sum()

    weight.requires_grad_(), bias.requires_grad_()
    slopes = torch.autograd.grad(objective(weight, bias), (weight, bias))
    assert max(s.abs().max().item() for s in slopes) < 1e-4
    with pytest.raises(ValueError, match="positive examples, got 60 negative"):
        fit_svm(x, -torch.ones(60))


# --- loss and detection --------------------------------------------------------------------------


def test_loss_trains_every_parameter_and_is_repeatable():
    scenes = box_scenes(3, (40, 60), seed=1)
    net = RCNN.miniature(4).eval()
    proposals = [propose(image, "windows") for image in scenes.images]

    def loss():
        generator = torch.Generator().manual_seed(4)
        return net.loss(
            scenes.images, targets_of(scenes), proposals, regions=24, generator=generator
        )["classes"]

    first = loss()
    first.backward()
    assert torch.equal(first, loss())
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


class Stub(RCNN):
    """Knows the class of a region from the red in its middle: 0.25 c is class c."""

    def describe(self, crops):
        red = crops[:, :1, 49, 49]
        return torch.ones(len(crops), self.box_weight.shape[2]), red

    def forward(self, crops):
        raise AssertionError("detection shares the features of both heads")


class Nearest(torch.nn.Module):
    def forward(self, top):
        return -50 * (top * 4 - torch.arange(4)) ** 2


class Undecided(torch.nn.Module):
    def forward(self, top):
        return torch.zeros(len(top), 4)


def stub(score):
    net = Stub.miniature(4)
    net.score = score
    return net


def test_detect_suppresses_within_a_class_and_never_across():
    image = torch.zeros(3, 60, 90)
    image[0, 10:50, 10:40] = 0.25
    image[0, 10:50, 50:80] = 0.50
    around = torch.tensor([[10.0, 10.0, 40.0, 50.0], [50.0, 10.0, 80.0, 50.0]])
    proposals = torch.cat([around, around + 1, torch.tensor([[0.0, 52.0, 90.0, 60.0]])])
    found = stub(Nearest()).detect(image[None], [proposals])[0]
    assert found["labels"].tolist() == [1, 2]
    torch.testing.assert_close(found["boxes"], around)
    # One proposal that is two classes at once stays twice.
    found = stub(Undecided()).detect(image[None], [around[:1]])[0]
    assert sorted(found["labels"].tolist()) == [1, 2, 3]
    torch.testing.assert_close(found["scores"], torch.full((3,), 0.25))


def test_detect_moves_boxes_by_the_regression_of_their_class_and_clips():
    image = torch.zeros(3, 60, 90)
    image[0, 10:30, 20:60] = 0.5
    net = stub(Nearest())
    net.box_bias[1] = torch.tensor([0.25, -0.1, math.log(1.5), math.log(0.5)])  # class 2
    net.box_bias[0] = 9.0
    found = net.detect(image[None], [torch.tensor([[20.0, 10.0, 60.0, 30.0]])])[0]
    torch.testing.assert_close(found["boxes"], torch.tensor([[20.0, 13.0, 80.0, 23.0]]))
    net.box_bias[1] = torch.tensor([0.0, 0.0, 9e9, 9e9])  # exp must not overflow
    found = net.detect(image[None], [torch.tensor([[20.0, 10.0, 60.0, 30.0]])])[0]
    assert found["boxes"].tolist() == [[0, 0, 90, 60]]


def test_batches_of_regions_and_missing_proposals_do_not_change_the_result():
    scenes = box_scenes(2, (40, 60), seed=1)
    net = RCNN.miniature(4)
    proposals = [propose(scenes.images[0], "windows")[:20], torch.zeros(0, 4)]
    all_at_once = net.detect(scenes.images, proposals, score_threshold=0)
    few = net.detect(scenes.images, proposals, score_threshold=0, batch=7)
    assert net.training
    torch.testing.assert_close(all_at_once[0]["scores"], few[0]["scores"])
    assert all_at_once[1]["boxes"].shape == (0, 4)


def test_boxes_keep_their_digits_beside_images_in_half_precision():
    # bfloat16 would round 513, 601 and 300 ... 301 to 512, 600 and an empty box.
    boxes = torch.tensor([[513.0, 100.0, 601.0, 203.0], [300.0, 10.0, 301.0, 20.0]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2])}
    net = RCNN.miniature(4).bfloat16()
    images = torch.rand(1, 3, 210, 640).bfloat16()
    found = net.detect(images, [boxes], score_threshold=0, nms_threshold=1)[0]["boxes"]
    assert {tuple(box) for box in found.tolist()} == {tuple(box) for box in boxes.tolist()}
    assert net.loss(images, [target], [boxes])["classes"].isfinite()
    fit_stages(net, images, [target], [boxes], ridge=1.0)
    assert net.box_weight.isfinite().all()


@pytest.mark.parametrize(
    ("proposals", "error", "message"),
    [
        (torch.zeros(1, 4), ValueError, "list of 1 tensors"),
        ([torch.zeros(1, 4)], ValueError, "must not be empty boxes"),
        ([torch.tensor([[0.0, math.nan, 1, 1]])], ValueError, "of image 0 must be finite"),
        ([torch.zeros(3)], ValueError, r"\(N, 4\)"),
        ([[[1.0, 2.0, 3.0, 4.0]]], TypeError, "proposals of image 0 must be a tensor.*got list"),
        ([torch.ones(1, 4).numpy()], TypeError, r"got ndarray: wrap it in torch.tensor"),
        ([torch.ones(1, 4).long()], TypeError, r"call .float\(\)"),
    ],
)
def test_bad_proposals_are_refused(proposals, error, message):
    with pytest.raises(error, match=message):
        RCNN.miniature().detect(torch.zeros(1, 3, 40, 40), proposals)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ({"boxes": torch.zeros(0, 4)}, TypeError, "list of 1 dicts, one an image, got a dict"),
        ([{"boxes": torch.zeros(0, 4)}], ValueError, r"'labels' \(M,\), got \['boxes'\]"),
        ([{"boxes": torch.zeros(0, 4), "labels": []}], TypeError, "must be a tensor, got list"),
        ([{"boxes": [], "labels": torch.zeros(0)}], TypeError, "boxes of image 0 must be a tensor"),
        ([], ValueError, "1 images need as many targets, got 0"),
    ],
)
def test_bad_targets_are_refused(targets, error, message):
    with pytest.raises(error, match=message):
        RCNN.miniature().loss(torch.zeros(1, 3, 40, 40), targets, [torch.zeros(0, 4)])


def test_scorers_that_cannot_score_are_refused():
    arguments = torch.zeros(1, 3, 40, 40), [torch.tensor([[1.0, 1.0, 30.0, 30.0]])]
    with pytest.raises(ValueError, match="'softmax' or 'svm', got 'SVM'"):
        RCNN.miniature().detect(*arguments, scorer="SVM")
    with pytest.raises(ValueError, match="fit_stages first"):
        RCNN.miniature().detect(*arguments, scorer="svm")


def test_proposals_outside_the_image_give_no_detection():
    proposals = torch.tensor([[50.0, 2.0, 60.0, 9.0], [-9.0, 2.0, 0.0, 9.0], [30.0, 2, 60, 9]])
    found = stub(Undecided()).detect(torch.zeros(1, 3, 40, 40), [proposals])[0]
    assert found["boxes"].tolist() == [[30, 2, 40, 9]] * 3


def test_a_batch_without_anything_to_train_on_is_refused():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    with pytest.raises(ValueError, match="neither proposals nor objects"):
        RCNN.miniature().loss(torch.zeros(1, 3, 40, 40), [nothing], [torch.zeros(0, 4)])


@pytest.mark.slow
def test_three_stages_learn_a_handful_of_scenes(record_property):
    torch.manual_seed(0)
    scenes = box_scenes(6, seed=0)
    targets, net = targets_of(scenes), RCNN.miniature(4)
    proposals = [propose(image) for image in scenes.images]
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(160):
        loss = net.loss(scenes.images, targets, proposals, regions=32, generator=generator)
        optimizer.zero_grad()
        loss["classes"].backward()
        optimizer.step()
    results = {}
    found = net.detect(scenes.images, proposals)
    results["softmax"] = mean_average_precision(found, targets).mean
    fit_stages(net, scenes.images, targets, proposals, C=1.0, ridge=10)
    found = net.detect(scenes.images, proposals, scorer="svm", score_threshold=-1)
    results["svm"] = mean_average_precision(found, targets).mean
    record_property("mAP50", results)
    assert results["softmax"] > 0.9
    assert results["svm"] > 0.9
