"""Two heads against closed forms, and the four mistakes that students make with them."""

import math

import pytest
import torch
from torch.nn import functional as F

from course.data import boxes as box_scenes
from course.models import Localizer
from course.models.localizer import (
    localization_accuracy,
    localization_loss,
    relative_boxes,
)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_heads_on_4096_features_have_the_stated_sizes():
    with torch.device("meta"):
        agnostic, specific = Localizer(), Localizer(class_specific=True)
        assert count(agnostic.box_head) == 16_388
        assert count(specific.box_head) == 16_388_000
        assert count(agnostic.class_head) == 4_097_000
        # VGG16 as published has 138,357,544 parameters, its classifier included.
        assert count(agnostic) == 138_357_544 + 16_388
        logits, boxes = specific(torch.empty(2, 3, 224, 224))
    assert logits.shape == (2, 1000)
    assert boxes.shape == (2, 1000, 4)


def test_any_backbone_serves():
    backbone = torch.nn.Conv2d(3, 5, 3, stride=2)
    net = Localizer(7, backbone=backbone, features=5 * 4 * 6, class_specific=True)
    logits, boxes = net(torch.rand(2, 3, 9, 13))
    features = backbone(net_input := torch.rand(2, 3, 9, 13)).flatten(1)
    torch.testing.assert_close(net(net_input)[0], net.class_head(features))
    assert logits.shape == (2, 7)
    assert boxes.shape == (2, 7, 4)


def test_pretrained_weights_reach_all_fifteen_layers():
    with torch.device("meta"):
        from torchvision.models import vgg16

        names = {k: v.shape for k, v in vgg16().state_dict().items()}
    names["classifier.0.weight"] = (4096, 512)  # one cell before fc6, to keep the test small
    torch.manual_seed(0)
    state = {k: torch.rand(1).expand(shape) for k, shape in names.items()}
    net = Localizer(3, image_size=32, weights=state)
    copied = [*net.backbone.stages.parameters(), *net.backbone.fc6.parameters()]
    copied += net.backbone.fc7.parameters()
    assert len(copied) == 30
    for parameter, key in zip(copied, names):  # both in the order of the layers
        assert parameter.flatten()[0] == state[key].flatten()[0], key
        assert parameter.shape == state[key].shape


def test_pretrained_weights_with_an_own_backbone_are_refused():
    with pytest.raises(ValueError, match="load your own"):
        Localizer(3, backbone=torch.nn.Identity(), features=12, weights="DEFAULT")


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="64 x 64 pixels, got 32 x 64"):
        Localizer(3, width=4, image_size=64)(torch.zeros(1, 3, 32, 64))
    with pytest.raises(ValueError, match="image_size must be at least 1"):
        Localizer(3, width=4, image_size=31)
    with pytest.raises(TypeError, match="255"):
        Localizer.miniature()(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))


# --- loss ----------------------------------------------------------------------------------------


def example(n=4, k=3, specific=False):
    generator = torch.Generator().manual_seed(n * k)
    shape = (n, k, 4) if specific else (n, 4)
    return (
        torch.randn(n, k, generator=generator, dtype=torch.float64, requires_grad=True),
        torch.rand(shape, generator=generator, dtype=torch.float64, requires_grad=True),
        torch.randint(k, (n,), generator=generator),
        torch.rand(n, 4, generator=generator, dtype=torch.float64),
    )


def ordered(truth):
    low, high = truth[:, :2] / 2, truth[:, 2:] / 2 + 0.5
    return torch.cat([low, high], 1)


@pytest.mark.parametrize("specific", [False, True])
@pytest.mark.parametrize("distance", ["l2", "smooth_l1"])
def test_loss_equals_a_loop_over_images(specific, distance):
    logits, boxes, labels, truth = example(specific=specific)
    truth = ordered(truth)
    has_object = torch.tensor([True, False, True, True])
    found = localization_loss(
        logits, boxes, labels, truth, has_object, lam=2.5, distance=distance, beta=0.1
    )
    total = 0.0
    for i in (0, 2, 3):
        box = boxes[i, labels[i]] if specific else boxes[i]
        for d in (box - truth[i]).tolist():
            if distance == "l2":
                total += d * d
            else:
                total += d * d / 0.2 if abs(d) < 0.1 else abs(d) - 0.05
    classes = -torch.stack([logits[i].log_softmax(0)[labels[i]] for i in range(4)]).mean()
    torch.testing.assert_close(found.classes, classes)
    assert found.boxes.item() == pytest.approx(2.5 * total / 3)


def test_images_without_object_send_no_gradient_to_the_box_head():
    logits, boxes, labels, truth = example()
    has_object = torch.tensor([False, True, False, True])
    truth = ordered(truth)
    truth[0] = math.nan  # nobody knows where the box of an image without object is
    localization_loss(logits, boxes, labels, truth, has_object).boxes.backward()
    assert (boxes.grad.abs().sum(1) > 0).tolist() == [False, True, False, True]
    assert logits.grad is None


def test_box_term_is_a_mean_over_objects_not_over_images():
    _, boxes, labels, truth = example()
    truth = ordered(truth)
    logits = torch.zeros(4, 3)
    one = torch.tensor([True, False, False, False])
    alone = localization_loss(logits[:1], boxes[:1], labels[:1], truth[:1])
    among = localization_loss(logits, boxes, labels, truth, one)
    torch.testing.assert_close(alone.boxes, among.boxes)


def test_no_object_at_all_gives_zero_and_a_gradient():
    logits, boxes, labels, truth = example()
    nothing = torch.zeros(4, dtype=torch.bool)
    loss = localization_loss(logits, boxes, labels, truth, nothing)
    assert loss.boxes == 0
    loss.boxes.backward()
    assert not boxes.grad.any()


def test_class_specific_loss_reaches_the_true_class_only():
    logits, boxes, labels, truth = example(specific=True)
    localization_loss(logits, boxes, labels, ordered(truth)).boxes.backward()
    assert torch.equal(boxes.grad.abs().sum(2) > 0, F.one_hot(labels, 3).bool())


@pytest.mark.parametrize("distance", ["l2", "smooth_l1"])
def test_gradients(distance):
    logits, boxes, labels, truth = example()
    truth = ordered(truth)
    assert torch.autograd.gradcheck(
        lambda x, b: sum(localization_loss(x, b, labels, truth, distance=distance)),
        (logits, boxes),
    )


def test_method_compares_boxes_relative_to_the_image_the_network_sees():
    net = Localizer.miniature(image_size=48, background=False)
    with torch.no_grad():
        net.box_head.weight.zero_()
        net.box_head.bias.copy_(torch.tensor([0.25, 0.5, 0.75, 1.0]))
    images = torch.rand(2, 3, 48, 48)
    boxes = torch.tensor([[12.0, 24.0, 36.0, 48.0]]).repeat(2, 1)
    terms = net.loss(images, torch.tensor([0, 1]), boxes)
    assert terms.boxes == 0
    for found in net.detect(images):
        torch.testing.assert_close(found["boxes"], boxes[:1])


def test_relative_boxes_divide_x_by_width_and_y_by_height():
    box = relative_boxes(torch.tensor([[30.0, 10.0, 60.0, 20.0]]), (40, 120))
    torch.testing.assert_close(box, torch.tensor([[0.25, 0.25, 0.5, 0.5]]))


def test_both_terms_start_at_a_similar_size():
    # With boxes in pixels the box term would be some 48^2 times larger and drown the classes.
    torch.manual_seed(0)
    net = Localizer.miniature(image_size=48)
    boxes = torch.rand(8, 2) * 24
    boxes = torch.cat([boxes, boxes + 20], 1)
    labels = torch.arange(8) % 3
    terms = net.loss(torch.rand(8, 3, 48, 48), labels, boxes, distance="l2")
    assert 0.1 < terms.boxes / terms.classes < 10


def test_loss_refuses_what_does_not_fit():
    logits, boxes, labels, truth = example()
    with pytest.raises(ValueError, match=r"labels \(4,\), truth \(4, 4\)"):
        localization_loss(logits, boxes, labels[:3], truth)
    with pytest.raises(ValueError, match="'smooth_l1' or 'l2', got 'l1'"):
        localization_loss(logits, boxes, labels, ordered(truth), distance="l1")
    with pytest.raises(ValueError, match=r"labels number the logits, 0 ... 2, got \[3, 0, 0, 0\]"):
        localization_loss(logits, boxes, torch.tensor([3, 0, 0, 0]), ordered(truth))
    # As numbers, 0 and 1 would pick rows 0 and 1, over and over, and no error would say so.
    with pytest.raises(TypeError, match=r"has_object must be bool, got torch.int64: .*labels > 0"):
        localization_loss(logits, boxes, labels, ordered(truth), torch.tensor([0, 1, 1, 0]))
    with pytest.raises(ValueError, match=r"has_object must be \(4,\), got \(1,\)"):
        localization_loss(logits, boxes, labels, ordered(truth), torch.tensor([True]))
    with pytest.raises(ValueError, match="truth must be finite with x1 >= x0"):
        localization_loss(logits, boxes, labels, ordered(truth).flip(1))


# --- accuracy and detection ----------------------------------------------------------------------


def test_accuracy_needs_label_and_box():
    right, wrong = [0.0, 9.0], [9.0, 0.0]
    logits = torch.tensor([right, right, wrong, wrong])
    full, third = [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.3]
    boxes = torch.tensor([full, third, full, third])
    truth = torch.tensor([full] * 4)
    assert localization_accuracy(logits, boxes, torch.ones(4, dtype=torch.long), truth) == 0.25


@pytest.mark.parametrize(("height", "accuracy"), [(5.0, 1.0), (4.99, 0.0)])
def test_an_iou_of_exactly_one_half_counts(height, accuracy):
    logits = torch.tensor([[1.0, 0.0]])
    truth = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, height]])
    assert localization_accuracy(logits, boxes, torch.tensor([0]), truth) == accuracy


def test_five_guesses_use_the_box_of_each_guess():
    logits = torch.tensor([[5.0, 4.0, 3.0, 0.0]])
    truth = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    boxes = torch.full((1, 4, 4), 9.0)
    boxes[0, 2] = truth
    label = torch.tensor([2])
    results = [localization_accuracy(logits, boxes, label, truth, guesses=g) for g in (1, 2, 3, 5)]
    assert results == [0, 0, 1, 1]


def test_disjoint_and_inverted_boxes_do_not_count():
    logits, label = torch.tensor([[1.0]]), torch.tensor([0])
    truth = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    for box in ([5.0, 5.0, 7.0, 7.0], [2.0, 2.0, 0.0, 0.0]):
        assert localization_accuracy(logits, torch.tensor([box]), label, truth) == 0


def test_detect_clips_to_a_non_square_image_and_picks_the_class_box():
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 20 * 40, 2))
    net = Localizer(2, backbone=backbone, features=2, class_specific=True)
    with torch.no_grad():
        net.class_head.weight.zero_()
        net.class_head.bias.copy_(torch.tensor([0.0, 3.0]))
        net.box_head.weight.zero_()
        net.box_head.bias.copy_(torch.tensor([0, 0, 1, 1, 0.5, -1, 2, 0.5]))
    found = net.detect(torch.zeros(2, 3, 20, 40))
    for one in found:
        torch.testing.assert_close(one["boxes"], torch.tensor([[20.0, 0.0, 40.0, 10.0]]))
        assert one["labels"].tolist() == [1]
        torch.testing.assert_close(one["scores"], torch.tensor([1 / (1 + math.exp(-3))]))


def saying(box, logits, **options):
    """A localizer that gives this relative box and these logits for every image."""
    net = Localizer.miniature(len(logits), image_size=32, **options)
    for head, values in ((net.class_head, logits), (net.box_head, box)):
        torch.nn.init.zeros_(head.weight)
        head.bias.data.copy_(torch.tensor(values))
    return net


def test_background_is_no_detection_and_its_boxes_do_not_train():
    box, images = [0.25, 0.5, 0.75, 1.0], torch.rand(2, 3, 32, 32)
    found = saying(box, [9.0, 0.0, 0.0]).detect(images)
    assert [one["boxes"].shape for one in found] == [(0, 4)] * 2
    assert [one["labels"].dtype for one in found] == [torch.int64] * 2
    assert saying(box, [0.0, 0.0, 9.0]).detect(images)[1]["labels"].tolist() == [2]
    net = saying(box, [9.0, 0.0, 0.0], background=False)
    assert net.detect(images)[0]["labels"].tolist() == [0]
    truth = torch.tensor([[math.nan] * 4, [8.0, 16.0, 24.0, 32.0]])
    assert saying(box, [0.0, 0.0, 0.0]).loss(images, torch.tensor([0, 1]), truth).boxes == 0
    with pytest.raises(ValueError, match="truth must be finite"):
        net.loss(images, torch.tensor([0, 1]), truth)


def test_detect_orders_corners_and_takes_images_of_any_size():
    net = saying([0.75, 0.5, 0.25, 2.0], [0.0, 9.0])
    found = net.detect(torch.rand(2, 3, 20, 40))[1]
    assert found["boxes"].tolist() == [[10, 10, 30, 20]]
    outside = saying([-0.5, 0.2, -0.1, 0.9], [0.0, 9.0]).detect(torch.rand(1, 3, 20, 40))[0]
    assert outside["boxes"].shape == (0, 4)
    with pytest.raises(ValueError, match="Localizer needs images of 32 x 32 pixels, got 20 x 40"):
        net(torch.rand(2, 3, 20, 40))


@pytest.mark.slow
def test_one_shape_a_picture_is_named_and_found_in_new_pictures(record_property):
    scenes = box_scenes(700, seed=0, count=(1, 1))
    boxes, labels = torch.cat(scenes.boxes), torch.cat(scenes.labels) - 1
    net, steps, seen = Localizer.miniature(background=False), 400, 600
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        batch = torch.randint(seen, (32,))
        terms = net.loss(scenes.images[batch], labels[batch], boxes[batch], lam=5)
        optimizer.zero_grad()
        sum(terms).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        logits, found = net.eval()(scenes.images[seen:])
    truth = relative_boxes(boxes[seen:], (48, 48))
    label_and_box = localization_accuracy(logits, found, labels[seen:], truth)
    record_property("label and box", label_and_box)
    assert label_and_box > 0.85
