"""course.boxes against torchvision, closed forms and brute force."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher

from course import boxes as B

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def random_boxes(n: int, seed: int, *, span: float = 100.0, dtype=torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * span
    return torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=generator) * span], 1).to(
        dtype
    )


finite = st.floats(-500, 500, width=32)
box = st.tuples(
    finite, finite, st.floats(0.125, 300, width=32), st.floats(0.125, 300, width=32)
).map(lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3]))
box_list = st.lists(box, min_size=1, max_size=6).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)


class TestForms:
    def test_values_by_hand(self):
        corners = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
        centres = torch.tensor([[20.0, 40.0, 20.0, 40.0]])
        assert torch.equal(B.to_cxcywh(corners), centres)
        assert torch.equal(B.to_xyxy(centres), corners)

    @given(box_list)
    @settings(deadline=None)
    def test_round_trip(self, corners):
        torch.testing.assert_close(B.to_xyxy(B.to_cxcywh(corners)), corners)

    def test_leading_axes_are_kept(self):
        stack = random_boxes(6, 0).view(2, 3, 4)
        expected = torchvision.ops.box_convert(stack, "xyxy", "cxcywh")
        torch.testing.assert_close(B.to_cxcywh(stack), expected)

    def test_clip_on_a_non_square_image(self):
        boxes = torch.tensor([[-5.0, -6.0, 70.0, 80.0], [60.0, 50.0, 65.0, 55.0]])
        clipped = B.clip_boxes(boxes, (30, 50))
        assert torch.equal(clipped, torchvision.ops.clip_boxes_to_image(boxes, (30, 50)))
        assert B.box_area(clipped).tolist() == [1500.0, 0.0]
        assert boxes[0, 0] == -5  # the argument is untouched


class TestOverlap:
    def test_hand_cases(self):
        a = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
        others = torch.tensor(
            [
                [2.0, 0.0, 6.0, 2.0],  # half shifted: 4 / 12
                [4.0, 0.0, 8.0, 2.0],  # touches
                [9.0, 9.0, 12.0, 12.0],  # apart on both axes: the negative sides must not multiply
                [1.0, 0.0, 2.0, 1.0],  # nested: 1 / 8
                [0.0, 0.0, 4.0, 2.0],  # equal
                [1.0, 1.0, 1.0, 1.0],  # empty
                [3.0, 2.0, 1.0, 0.0],  # inside out
            ]
        )
        expected = [1 / 3, 0, 0, 1 / 8, 1, 0, 0]
        torch.testing.assert_close(B.box_iou(a, others)[0], torch.tensor(expected))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_matches_torchvision(self, dtype):
        a, b = random_boxes(7, 1).to(dtype), random_boxes(5, 2).to(dtype)
        full_a, full_b = a.double(), b.double()
        ours, theirs = B.box_iou(a, b), torchvision.ops.box_iou(full_a, full_b)
        assert ours.shape == (7, 5)
        torch.testing.assert_close(ours, theirs, check_dtype=False, atol=1e-6, rtol=1e-6)
        expected = torchvision.ops.generalized_box_iou(full_a, full_b)
        torch.testing.assert_close(B.giou(a, b), expected, check_dtype=False, atol=1e-5, rtol=0)
        area = torchvision.ops.box_area(full_a)
        torch.testing.assert_close(B.box_area(a), area, check_dtype=False)

    @pytest.mark.parametrize("name", ["box_iou", "giou"])
    def test_gradients(self, name):
        a = random_boxes(4, 3, dtype=torch.float64).requires_grad_()
        b = random_boxes(3, 4, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(getattr(B, name), (a, b))
        peer = {"box_iou": "box_iou", "giou": "generalized_box_iou"}[name]
        weight = torch.arange(12.0, dtype=torch.float64).view(4, 3)
        ours = torch.autograd.grad((getattr(B, name)(a, b) * weight).sum(), (a, b))
        theirs = torch.autograd.grad((getattr(torchvision.ops, peer)(a, b) * weight).sum(), (a, b))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-6)

    @pytest.mark.parametrize("name", ["box_iou", "giou"])
    def test_gradient_of_degenerate_boxes_is_finite(self, name):
        flat = torch.tensor([[1.0, 1.0, 1.0, 5.0], [2.0, 2.0, 2.0, 2.0]], requires_grad=True)
        value = getattr(B, name)(flat, flat.detach().clone())
        value.sum().backward()
        assert value.isfinite().all()
        assert flat.grad is not None
        assert flat.grad.isfinite().all()

    def test_giou_of_an_empty_box_uses_the_true_union(self):
        point, square = torch.tensor([[3.0, 0, 3, 0]]), torch.tensor([[0.0, 0, 2, 2]])
        assert B.giou(point, square).item() == pytest.approx(-2 / 6)  # hull 6, union 4

    @given(box_list, box_list, st.floats(0.25, 4), finite)
    @settings(deadline=None)
    def test_laws(self, a, b, scale, shift):
        value, general = B.box_iou(a, b), B.giou(a, b)
        assert ((value >= 0) & (value <= 1 + 1e-12)).all()
        assert (general <= value + 1e-12).all()
        assert (general >= -1 - 1e-12).all()
        torch.testing.assert_close(value, B.box_iou(b, a).T)
        moved = B.box_iou(a * scale + shift, b * scale + shift)
        torch.testing.assert_close(moved, value, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(B.box_iou(a, a).diagonal(), torch.ones(len(a)).double())

    def test_empty_sets(self):
        assert B.box_iou(torch.zeros(0, 4), random_boxes(3, 0)).shape == (0, 3)
        assert B.giou(random_boxes(2, 0), torch.zeros(0, 4)).shape == (2, 0)
        assert B.box_area(torch.zeros(0, 4)).shape == (0,)

    @pytest.mark.parametrize(
        ("bad", "error", "words"),
        [
            (torch.zeros(4), ValueError, r"\(N, 4\).*\(4,\)"),
            (torch.zeros(3, 5), ValueError, r"\(3, 5\)"),
            (torch.zeros(2, 4, dtype=torch.int64), TypeError, r"int64.*\.float\(\)"),
            ([[0, 0, 1, 1]], TypeError, "list.*torch.tensor"),
        ],
    )
    def test_bad_boxes_are_named(self, bad, error, words):
        with pytest.raises(error, match=words):
            B.box_iou(random_boxes(2, 0), bad)

    @pytest.mark.parametrize("name", ["box_iou", "giou"])
    @pytest.mark.parametrize("count", [10, 200])  # 200 x 1000 boxes go through in parts
    def test_the_higher_precision_counts(self, name, count):
        function = getattr(B, name)
        a, b = random_boxes(count, 1), random_boxes(1000, 2, dtype=torch.float64)
        value = function(a, b)
        assert value.dtype == torch.float64
        assert torch.equal(value, function(a.double(), b))
        assert torch.equal(function(b, a), function(b, a.double()))
        assert function(a.half(), a).dtype == torch.float32

    @pytest.mark.parametrize("name", ["box_iou", "giou"])
    def test_two_devices_are_refused(self, name):
        with pytest.raises(ValueError, match="a is on cpu, b on meta: move"):
            getattr(B, name)(random_boxes(2, 0), torch.zeros(3, 4, device="meta"))

    def test_bad_image_size(self):
        with pytest.raises(ValueError, match=r"height, width.*-1"):
            B.clip_boxes(random_boxes(2, 0), (-1, 5))

    @gpu
    @needs_cuda
    def test_on_a_gpu(self):
        a, b = random_boxes(70, 1), random_boxes(50, 2)
        for function in (B.box_iou, B.giou):
            value = function(a.cuda(), b.cuda())
            assert value.is_cuda
            torch.testing.assert_close(value.cpu(), function(a, b))


def clustered(n: int, objects: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(objects, 2, generator=generator) * 400
    corner = centre[torch.randint(objects, (n,), generator=generator)]
    corner = corner + 8 * torch.randn(n, 2, generator=generator)
    size = 50 + 8 * torch.randn(n, 2, generator=generator)
    return torch.cat([corner, corner + size], 1), torch.rand(n, generator=generator)


class TestSuppression:
    def test_a_removed_box_removes_nothing(self):
        boxes = torch.tensor([[0.0, 0, 10, 4], [6, 0, 16, 4], [12, 0, 22, 4]])
        for function in (B.nms, B.greedy_nms):
            assert function(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.2).tolist() == [0, 2]
            assert function(boxes, torch.tensor([0.7, 0.9, 0.8]), 0.2).tolist() == [1]

    def test_the_threshold_itself_does_not_remove(self):
        boxes = torch.tensor([[0.0, 0, 10, 5], [0, 0, 5, 5]])  # IoU exactly 0.5
        for function in (B.nms, B.greedy_nms):
            assert function(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0, 1]
            assert function(boxes, torch.tensor([0.9, 0.8]), 0.49).tolist() == [0]

    @pytest.mark.parametrize("n", [0, 1, 2, 255, 256, 257, 900])
    @pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 0.7, 1.0])
    def test_teaching_version_equals_the_compiled_one(self, n, iou):
        boxes, scores = clustered(n, 20, n)
        assert torch.equal(B.greedy_nms(boxes, scores, iou), B.nms(boxes, scores, iou))

    def test_ties_in_scores_and_in_overlaps(self):
        generator = torch.Generator().manual_seed(0)
        corner = torch.randint(0, 8, (600, 2), generator=generator).float()
        size = torch.randint(1, 10, (600, 2), generator=generator).float()
        boxes = torch.cat([corner, corner + size], 1)
        scores = torch.randint(0, 4, (600,), generator=generator).float()
        for dtype in (torch.float32, torch.float64):
            for tenth in range(11):  # whole-numbered boxes hit thresholds like 0.3 exactly
                kept = B.greedy_nms(boxes.to(dtype), scores, tenth / 10)
                assert torch.equal(kept, B.nms(boxes.to(dtype), scores, tenth / 10)), (dtype, tenth)

    def test_long_chain_of_removals(self):
        # Every box overlaps its neighbours only: keeping alternates along the whole block.
        left = torch.arange(300.0) * 6
        boxes = torch.stack([left, 0 * left, left + 10, 0 * left + 7], 1)
        kept = B.greedy_nms(boxes, -left, 0.2)
        assert torch.equal(kept, torch.arange(0, 300, 2))

    def test_arguments_are_untouched(self):
        boxes, scores = clustered(50, 5, 1)
        copy = boxes.clone(), scores.clone()
        for function in (B.nms, B.greedy_nms):
            function(boxes, scores, 0.4)
        assert torch.equal(boxes, copy[0])
        assert torch.equal(scores, copy[1])

    def test_batched_equals_one_call_per_class(self):
        boxes, scores = clustered(300, 10, 2)
        labels = torch.randint(0, 4, (300,), generator=torch.Generator().manual_seed(3))
        kept = B.batched_nms(boxes, scores, labels, 0.5)
        expected = torchvision.ops.boxes._batched_nms_vanilla(boxes, scores, labels, 0.5)
        assert torch.equal(kept, expected)
        assert len(kept) > len(B.nms(boxes, scores, 0.5))  # classes do spare each other here
        assert torch.equal(scores[kept], scores[kept].sort(descending=True).values)
        empty = torch.zeros(0, dtype=torch.int64)
        assert B.batched_nms(torch.zeros(0, 4), torch.zeros(0), empty, 0.5).tolist() == []

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            ({"scores": torch.rand(3)}, ValueError, r"one per box, \(5,\), got \(3,\)"),
            ({"scores": torch.arange(5)}, TypeError, "scores must be floating"),
            ({"scores": torch.full((5,), math.nan)}, ValueError, "NaN"),
            ({"boxes": torch.full((5, 4), math.nan)}, ValueError, "NaN"),
            ({"boxes": torch.zeros(5, 3)}, ValueError, r"\(5, 3\)"),
            ({"iou": 50}, ValueError, r"\[0, 1\], got 50"),
        ],
    )
    @pytest.mark.parametrize("function", [B.nms, B.greedy_nms])
    def test_bad_input(self, function, change, error, words):
        arguments = {"boxes": random_boxes(5, 0), "scores": torch.rand(5), "iou": 0.5} | change
        with pytest.raises(error, match=words):
            function(**arguments)

    def test_bad_labels(self):
        boxes, scores = clustered(4, 2, 0)
        with pytest.raises(ValueError, match=r"labels must be \(4,\), got \(3,\)"):
            B.batched_nms(boxes, scores, torch.zeros(3, dtype=torch.int64), 0.5)
        with pytest.raises(TypeError, match="labels must be integers"):
            B.batched_nms(boxes, scores, torch.zeros(4), 0.5)

    @gpu
    @needs_cuda
    def test_on_a_gpu(self):
        boxes, scores = clustered(3000, 100, 5)
        kept = B.greedy_nms(boxes.cuda(), scores.cuda(), 0.5)
        assert kept.is_cuda
        assert torch.equal(kept.cpu(), B.nms(boxes, scores, 0.5))


class TestTargets:
    def test_example_of_the_facts(self):
        proposal = B.to_xyxy(torch.tensor([[50.0, 50, 20, 40]]))
        goal = B.to_xyxy(torch.tensor([[55.0, 46, 30, 20]]))
        t = B.encode(goal, proposal)
        torch.testing.assert_close(t, torch.tensor([[0.25, -0.1, 0.405465, -0.693147]]))
        torch.testing.assert_close(B.decode(t, proposal), goal)

    def test_matches_torchvision_with_weights(self):
        goal, anchors = random_boxes(9, 1), random_boxes(9, 2)
        coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        t = B.encode(goal, anchors, stds=(0.1, 0.1, 0.2, 0.2))
        torch.testing.assert_close(t, coder.encode_single(goal, anchors), atol=1e-5, rtol=1e-4)
        wild = t + 30 * torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
        ours = B.decode(wild, anchors, stds=(0.1, 0.1, 0.2, 0.2))
        torch.testing.assert_close(ours, coder.decode_single(wild, anchors), atol=1e-2, rtol=1e-4)

    @given(box_list, st.integers(0, 5))
    @settings(deadline=None)
    def test_decode_inverts_encode(self, goal, seed):
        anchors = random_boxes(len(goal), seed, dtype=torch.float64)
        anchors[:, 2:] += 4  # no box is 62.5 times larger, where decode stops
        norm = {"means": (0.1, -0.2, 0.3, 0.0), "stds": (0.1, 0.2, 0.3, 0.4)}
        back = B.decode(B.encode(goal, anchors, **norm), anchors, **norm)
        torch.testing.assert_close(back, goal, atol=1e-6, rtol=1e-6)

    def test_one_box_per_class(self):
        anchors, t = random_boxes(3, 0), torch.randn(3, 5, 4)
        decoded = B.decode(t, anchors[:, None])
        assert decoded.shape == (3, 5, 4)
        torch.testing.assert_close(decoded[:, 2], B.decode(t[:, 2], anchors))

    def test_huge_outputs_stay_finite(self):
        decoded = B.decode(torch.tensor([[0.0, 0, 1e4, 1e4]]), torch.tensor([[0.0, 0, 16, 8]]))
        torch.testing.assert_close(decoded, torch.tensor([[-492.0, -246, 508, 254]]))

    def test_gradient(self):
        t = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        anchors = random_boxes(3, 0, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(B.decode, (t, anchors))
        assert torch.autograd.gradcheck(B.encode, (random_boxes(3, 1).double(), anchors))

    def test_bad_input(self):
        flat = torch.tensor([[5.0, 5, 5, 9]])
        with pytest.raises(ValueError, match=r"boxes must have positive.*\[5.0, 5.0, 5.0, 9.0\]"):
            B.encode(flat, random_boxes(1, 0))
        with pytest.raises(ValueError, match="anchors must have positive"):
            B.decode(torch.zeros(1, 4), torch.full((1, 4), math.nan))
        with pytest.raises(ValueError, match="four numbers"):
            B.encode(random_boxes(1, 0), random_boxes(1, 1), means=(0.0, 1.0))
        with pytest.raises(ValueError, match="stds must be positive"):
            B.decode(torch.zeros(1, 4), random_boxes(1, 1), stds=(0.1, 0.1, 0.0, 0.2))

    @pytest.mark.parametrize("seed", range(5))
    def test_assign_matches_torchvision(self, seed):
        proposals, gt = random_boxes(60, seed), random_boxes(7, seed + 100)
        labels, matches = B.assign(proposals, gt, 0.6, 0.3)
        matcher = Matcher(0.6, 0.3, allow_low_quality_matches=True)
        expected = matcher(torchvision.ops.box_iou(gt, proposals))
        assert torch.equal(
            labels, torch.where(expected >= 0, 1, torch.where(expected == -1, 0, -1))
        )
        assert torch.equal(matches, expected.clamp(min=-1))

    def test_best_proposal_of_an_object_is_kept(self):
        gt = torch.tensor([[0.0, 0, 10, 10], [100, 100, 120, 110]])
        proposals = torch.tensor([[0.0, 0, 10, 2], [0, 0, 10, 1], [50, 50, 60, 60], [0, 0, 10, 8]])
        labels, matches = B.assign(proposals[:3], gt, 0.7, 0.3)
        assert labels.tolist() == [1, 0, 0]  # 0.2 is below lo, yet the best; object 1 claims nobody
        assert matches.tolist() == [0, -1, -1]
        assert B.assign(proposals, gt, 0.7, 0.15)[0].tolist() == [-1, 0, 0, 1]
        assert B.assign(proposals, gt, 0.8, 0.15)[0].tolist() == [-1, 0, 0, 1]  # at hi: foreground

    def test_assign_without_objects_or_proposals(self):
        labels, matches = B.assign(random_boxes(3, 0), torch.zeros(0, 4), 0.5, 0.5)
        assert labels.tolist() == [0, 0, 0]
        assert matches.tolist() == [-1, -1, -1]
        assert B.assign(torch.zeros(0, 4), random_boxes(3, 0), 0.5, 0.5)[0].shape == (0,)
        with pytest.raises(ValueError, match=r"lo <= hi.*hi=0.3, lo=0.5"):
            B.assign(random_boxes(3, 0), random_boxes(3, 0), 0.3, 0.5)

    @pytest.mark.parametrize(
        ("positives", "negatives", "expected"),
        [
            (50, 500, (16, 48)),
            (5, 500, (5, 59)),
            (50, 20, (16, 20)),
            (0, 30, (0, 30)),
            (0, 0, (0, 0)),
        ],
    )
    def test_sample_counts(self, positives, negatives, expected):
        labels = torch.cat([torch.ones(positives), torch.zeros(negatives), -torch.ones(40)]).long()
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
        chosen = B.sample_rois(labels, 64, 0.25, torch.Generator().manual_seed(0))
        assert len(chosen.unique()) == len(chosen)
        assert ((labels[chosen] == 1).sum(), (labels[chosen] == 0).sum()) == expected
        again = B.sample_rois(labels, 64, 0.25, torch.Generator().manual_seed(0))
        assert torch.equal(chosen, again)

    def test_sample_is_uniform(self):
        labels = torch.tensor([1, 1, 1, 1, 0, 0])
        generator = torch.Generator().manual_seed(0)
        drawn = torch.cat([B.sample_rois(labels, 2, 0.5, generator) for _ in range(2000)])
        share = drawn.bincount(minlength=6) / 2000
        torch.testing.assert_close(share, torch.tensor([0.25] * 4 + [0.5] * 2), atol=0.05, rtol=0)

    def test_sample_bad_input(self):
        with pytest.raises(ValueError, match=r"\(N,\), got \(2, 3\)"):
            B.sample_rois(torch.zeros(2, 3), 4, 0.25)
        with pytest.raises(ValueError, match="fg_fraction in"):
            B.sample_rois(torch.zeros(3), 4, 25)

    @gpu
    @needs_cuda
    def test_on_a_gpu(self):
        proposals, gt = random_boxes(60, 0), random_boxes(7, 100)
        on_cpu, on_gpu = (
            B.assign(proposals, gt, 0.6, 0.3),
            B.assign(proposals.cuda(), gt.cuda(), 0.6, 0.3),
        )
        assert all(torch.equal(a, b.cpu()) for a, b in zip(on_cpu, on_gpu))
        draws = [
            B.sample_rois(x[0], 16, 0.25, torch.Generator().manual_seed(0))
            for x in (on_cpu, on_gpu)
        ]
        assert torch.equal(draws[0], draws[1].cpu())
        t = B.encode(proposals[:7].cuda(), gt.cuda())
        torch.testing.assert_close(
            B.decode(t, gt.cuda()).cpu(), proposals[:7], atol=1e-3, rtol=1e-4
        )


def torchvision_pool(feature: Tensor, boxes: list[Tensor], size, scale: float) -> Tensor:
    return torchvision.ops.roi_pool(feature, boxes, size, scale)


class TestRoIPooling:
    @pytest.mark.parametrize(
        ("roi", "scale", "expected"),
        [
            ([0.0, 0, 3, 3], 1.0, [[5, 7], [13, 15]]),
            ([0.0, 0, 2, 2], 1.0, [[5, 6], [9, 10]]),
            ([0.0, 0, 63, 63], 1 / 16, [[10, 11], [14, 15]]),
        ],
    )
    def test_examples_of_the_facts(self, roi, scale, expected):
        feature = torch.arange(16.0).view(1, 1, 4, 4)
        pooled = B.roi_max_pool(feature, torch.tensor([roi]), 2, scale)
        assert pooled[0, 0].tolist() == expected

    @pytest.mark.parametrize("size", [(7, 7), (2, 5), (1, 1), (3, 14)])
    @pytest.mark.parametrize("scale", [1.0, 0.5, 1 / 16])
    def test_values_and_gradients_equal_torchvision(self, size, scale):
        generator = torch.Generator().manual_seed(0)
        feature = torch.randn(2, 5, 13, 22, generator=generator).relu()  # zeros tie
        boxes = []
        for _ in range(2):
            corner = torch.rand(12, 2, generator=generator) * torch.tensor([30.0, 20.0]) - 6
            side = torch.rand(12, 2, generator=generator) * torch.tensor([30.0, 20.0]) - 2
            boxes.append(torch.cat([corner, corner + side], 1) / scale)
        ours, theirs = feature.clone().requires_grad_(), feature.clone().requires_grad_()
        pooled, expected = (
            B.roi_max_pool(ours, boxes, size, scale),
            torchvision_pool(theirs, boxes, size, scale),
        )
        assert torch.equal(pooled, expected)
        weight = torch.randn(pooled.shape, generator=generator)
        (pooled * weight).sum().backward()
        (expected * weight).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)

    def test_halves_round_away_from_zero(self):
        feature = torch.arange(60.0).view(1, 1, 6, 10)
        boxes = torch.tensor([[0.5, 1.5, 2.5, 3.5], [-0.5, -1.5, 4.5, 2.5], [2.5, 0.5, 6.5, 4.5]])
        expected = torchvision_pool(feature, [boxes], (2, 3), 1.0)
        assert torch.equal(B.roi_max_pool(feature, boxes, (2, 3)), expected)
        assert B.roi_max_pool(feature, boxes[:1], 1).item() == 43  # rows 2..4, columns 1..3

    @pytest.mark.parametrize("extent", [57, 114, 121])
    def test_single_precision_bins_of_the_released_layer(self, extent):
        # In single precision ceil(7 * (57 / 7)) is 58: the last bin holds one more cell.
        generator = torch.Generator().manual_seed(extent)
        feature = torch.rand(1, 2, extent + 3, extent + 2, generator=generator)
        feature[..., extent] = feature[..., extent, :] = 2.0
        boxes = torch.tensor([[0.0, 0, extent - 1, extent - 1], [1.0, 1, extent, extent]])
        ours, theirs = feature.clone().requires_grad_(), feature.clone().requires_grad_()
        pooled, expected = (
            B.roi_max_pool(ours, boxes, 7),
            torchvision_pool(theirs, [boxes], (7, 7), 1.0),
        )
        assert pooled[0].max() == 2
        assert torch.equal(pooled, expected)
        pooled.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)

    def test_boxes_outside_the_map_give_zero_and_no_gradient(self):
        feature = -torch.rand(1, 3, 5, 8).requires_grad_()
        far = torch.tensor([[5000.0, 5000, 6000, 6000], [-90, -90, -80, -80], [0, 6, 7, 7]])
        leaf = feature.detach().requires_grad_()
        pooled = B.roi_max_pool(leaf, far, (2, 3))
        pooled.sum().backward()
        assert (pooled == 0).all()
        assert (leaf.grad == 0).all()
        huge = torch.tensor([[-4000.0, -4000, 4000, 4000]])
        assert torch.equal(
            B.roi_max_pool(feature, huge, 3), torchvision_pool(feature, [huge], 3, 1.0)
        )

    def test_gradient_numerically(self):
        feature = torch.randperm(2 * 6 * 7).view(1, 2, 6, 7).double().requires_grad_()
        boxes = torch.tensor([[0.0, 0, 4, 3], [2, 1, 9, 5]])
        assert torch.autograd.gradcheck(lambda x: B.roi_max_pool(x, boxes, (2, 3)), (feature,))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_other_precisions(self, dtype):
        feature = torch.randn(1, 3, 9, 11, generator=torch.Generator().manual_seed(0)).to(dtype)
        boxes = random_boxes(6, 1, span=5)
        pooled = B.roi_max_pool(feature, boxes, 3)
        assert pooled.dtype == dtype
        expected = torchvision_pool(feature.float(), [boxes], 3, 1.0)
        torch.testing.assert_close(pooled.float(), expected)

    def test_half_precision_counts_every_box_of_a_cell(self):
        feature = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16, requires_grad=True)
        B.roi_max_pool(feature, torch.zeros(512, 4), 1).sum().backward()
        assert feature.grad.dtype == torch.bfloat16
        assert feature.grad.item() == 512

    def test_no_boxes(self):
        empty = [torch.zeros(0, 4), torch.zeros(0, 4)]
        assert B.roi_max_pool(torch.rand(2, 3, 4, 5), empty, (7, 6)).shape == (0, 3, 7, 6)

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            ({"feature": torch.rand(3, 4, 5)}, ValueError, r"\(B, C, H, W\), got \(3, 4, 5\)"),
            ({"feature": torch.rand(2, 3, 4, 5)}, ValueError, "one .* tensor per image, 2 in all"),
            ({"feature": torch.ones(1, 3, 4, 5).long()}, TypeError, "floating"),
            ({"boxes": torch.rand(2, 5)}, ValueError, r"\(2, 5\)"),
            ({"boxes": torch.full((2, 4), math.inf)}, ValueError, "finite.*clip"),
            ({"boxes": torch.full((2, 4), math.nan)}, ValueError, "finite"),
            ({"size": 0}, ValueError, r"positive, got \(0, 0\)"),
            ({"scale": -1.0}, ValueError, "positive"),
        ],
    )
    def test_bad_input(self, change, error, words):
        good = {
            "feature": torch.rand(1, 3, 4, 5),
            "boxes": random_boxes(2, 0),
            "size": 2,
            "scale": 1.0,
        }
        with pytest.raises(error, match=words):
            B.roi_max_pool(**(good | change))

    @gpu
    @needs_cuda
    def test_on_a_gpu(self):
        feature = torch.randn(1, 8, 20, 31, generator=torch.Generator().manual_seed(0))
        boxes = random_boxes(20, 0, span=15)
        ours, theirs = feature.cuda().requires_grad_(), feature.clone().requires_grad_()
        pooled, expected = B.roi_max_pool(ours, boxes.cuda(), 7), B.roi_max_pool(theirs, boxes, 7)
        pooled.square().sum().backward()
        expected.square().sum().backward()
        assert torch.equal(pooled.cpu(), expected)
        torch.testing.assert_close(ours.grad, theirs.grad, check_device=False)


def voc_kit_ap(recall: list[float], precision: list[float]) -> float:
    """The development kit's own steps: sentinels, envelope, sum over the recall steps."""
    recall, precision = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


class TestAveragePrecision:
    def test_by_hand(self):
        scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
        is_tp = torch.tensor([True, False, True, False, True])
        # Precision 1, 1/2, 2/3, 1/2, 3/5; recalls 1/4, 2/4, 3/4 are reached with 1, 2/3, 3/5.
        assert B.average_precision(scores, is_tp, 4) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)
        points = (3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11  # recalls 0-.2, .3-.5, .6-.7; .8-1 miss
        assert B.average_precision(scores, is_tp, 4, method="11-point") == pytest.approx(points)

    def test_perfect_missing_and_empty(self):
        scores, none = torch.rand(7), torch.zeros(0)
        assert B.average_precision(scores, torch.ones(7).bool(), 7) == 1
        assert B.average_precision(scores, torch.ones(7).bool(), 7, method="11-point") == 1
        assert B.average_precision(scores, torch.zeros(7).bool(), 3) == 0
        assert B.average_precision(none, none.bool(), 3) == 0
        assert B.average_precision(none, none.bool(), 3, method="11-point") == 0

    @given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 10), st.randoms())
    @settings(deadline=None)
    def test_equals_the_development_kit(self, verdicts, missed, random):
        n_gt = max(sum(verdicts) + missed, 1)
        hits = [sum(verdicts[: i + 1]) for i in range(len(verdicts))]
        precision = [h / (i + 1) for i, h in enumerate(hits)]
        expected = voc_kit_ap([h / n_gt for h in hits], precision)
        shuffled = list(range(len(verdicts)))
        random.shuffle(shuffled)
        scores = torch.tensor([1.0 - i / 100 for i in shuffled])
        is_tp = torch.tensor([verdicts[i] for i in shuffled])
        assert B.average_precision(scores, is_tp, n_gt) == pytest.approx(expected)
        eleven = [
            max((p for p, h in zip(precision, hits) if 10 * h >= k * n_gt), default=0)
            for k in range(11)
        ]
        ours = B.average_precision(scores, is_tp, n_gt, method="11-point")
        assert ours == pytest.approx(sum(eleven) / 11)

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            ({"n_gt": 0}, ValueError, "at least 1.*absent"),
            ({"n_gt": 1}, ValueError, "2 true positives for n_gt=1"),
            ({"is_tp": torch.ones(3)}, TypeError, "bool.*float32"),
            ({"is_tp": torch.ones(2).bool()}, ValueError, r"\(3,\) and \(2,\)"),
            ({"scores": torch.full((3,), math.nan)}, ValueError, "NaN"),
            ({"method": "voc"}, ValueError, "11-point.*'voc'"),
        ],
    )
    def test_bad_input(self, change, error, words):
        good = {"scores": torch.rand(3), "is_tp": torch.tensor([True, True, False]), "n_gt": 3}
        with pytest.raises(error, match=words):
            B.average_precision(**(good | change))


def found(boxes, scores, labels) -> dict[str, Tensor]:
    boxes = torch.tensor(boxes).view(-1, 4)
    return {"boxes": boxes, "scores": torch.tensor(scores), "labels": torch.tensor(labels).long()}


def truth(boxes, labels, difficult=None) -> dict[str, Tensor]:
    entry = {"boxes": torch.tensor(boxes).view(-1, 4), "labels": torch.tensor(labels).long()}
    return entry if difficult is None else entry | {"difficult": torch.tensor(difficult)}


A, C, FAR = [0.0, 0, 10, 10], [20.0, 0, 40, 10], [90.0, 90, 99, 99]


class TestMeanAveragePrecision:
    def test_duplicates_are_false_positives(self):
        result = B.mean_average_precision(
            [found([A, A, C], [0.9, 0.8, 0.7], [1, 1, 1])], [truth([A, C], [1, 1])]
        )
        assert result.mean == pytest.approx((1 + 2 / 3) / 2)

    def test_a_detection_only_tries_its_best_object(self):
        # Detection 2 fits A best and A is taken: a duplicate, although `near` would do as well.
        near = [2.0, 0, 12, 10]
        detections = [found([A, A], [0.9, 0.8], [1, 1])]
        assert B.mean_average_precision(detections, [truth([A, near], [1, 1])]).mean == 0.5

    def test_ranking_is_over_all_images(self):
        detections = [found([FAR], [0.5], [1]), found([A], [0.9], [1])]
        objects = [truth([A], [1]), truth([A], [1])]
        assert B.mean_average_precision(detections, objects).mean == 0.5
        detections[0]["scores"][0] = 0.95  # the false positive now leads
        assert B.mean_average_precision(detections, objects).mean == 0.25

    def test_an_object_is_found_in_its_own_image_only(self):
        detections = [found([A], [0.9], [1]), found([], [], [])]
        objects = [truth([], []), truth([A], [1])]
        assert B.mean_average_precision(detections, objects).mean == 0

    def test_difficult_objects_count_neither_way(self):
        detections = [found([A, A, C], [0.9, 0.8, 0.7], [1, 1, 1])]
        objects = [truth([A, C], [1, 1], [True, False])]
        assert B.mean_average_precision(detections, objects) == (1.0, {1: 1.0})
        only_difficult = [truth([A, C], [1, 2], [True, False])]
        assert B.mean_average_precision(detections, only_difficult).per_class == {2: 0.0}

    def test_absent_classes_are_left_out(self):
        detections = [found([A, FAR], [0.9, 0.8], [1, 5])]
        assert B.mean_average_precision(detections, [truth([A, C], [1, 2])]) == (
            0.5,
            {1: 1.0, 2: 0.0},
        )
        assert math.isnan(B.mean_average_precision([], []).mean)

    def test_at_the_threshold_a_detection_counts(self):
        detections = [found([[0.0, 0, 10, 7]], [0.9], [1])]
        assert B.mean_average_precision(detections, [truth([A], [1])], 0.7).mean == 1
        assert B.mean_average_precision(detections, [truth([A], [1])], 0.71).mean == 0

    def test_nan_boxes_find_nothing(self):
        detections = [found([[math.nan] * 4], [0.9], [1])]
        assert B.mean_average_precision(detections, [truth([A], [1])]).mean == 0

    def test_bad_input(self):
        good, objects = found([A], [0.9], [1]), truth([A], [1])
        with pytest.raises(ValueError, match="same images, got 1 and 2"):
            B.mean_average_precision([good], [objects, objects])
        with pytest.raises(ValueError, match=r"detections\[0\] has no \['scores'\]"):
            B.mean_average_precision([objects], [objects])
        with pytest.raises(ValueError, match=r"ground_truth\[0\]\['labels'\].*\(1,\), got \(2,\)"):
            B.mean_average_precision([good], [objects | {"labels": torch.ones(2).long()}])
        with pytest.raises(ValueError, match=r"\['difficult'\] must .*\(1,\), got \(2,\)"):
            B.mean_average_precision([good], [objects | {"difficult": torch.zeros(2).bool()}])
        with pytest.raises(ValueError, match=r"\(0, 1\], got 50"):
            B.mean_average_precision([good], [objects], 50)

    @pytest.mark.data
    def test_real_detections_reach_the_published_map(self):
        root = Path(os.environ.get("COURSE_DATA", "")) / "map_eval"
        if not os.environ.get("COURSE_DATA") or not root.is_dir():
            pytest.skip("COURSE_DATA does not name a folder with map_eval")
        expected = json.loads((root / "expected.json").read_text())
        names: dict[str, int] = {}
        detections, objects = [], []
        for path in sorted((root / "ground-truth").glob("*.txt")):
            rows = [line.split() for line in path.read_text().splitlines() if line]
            hits = [
                line.split()
                for line in (root / "predicted" / path.name).read_text().splitlines()
                if line
            ]
            label = [names.setdefault(row[0], len(names)) for row in rows]
            corners = [[float(v) for v in row[1:5]] for row in rows]
            objects.append(truth(corners, label, ["difficult" in row for row in rows]))
            label = [names.setdefault(row[0], len(names)) for row in hits]
            corners = [[float(v) for v in row[2:6]] for row in hits]
            detections.append(found(corners, [float(row[1]) for row in hits], label))
        for entry in [*objects, *detections]:
            entry["boxes"][:, 2:] += 1  # inclusive pixels to half-open corners
        result = B.mean_average_precision(detections, objects)
        assert result.mean == pytest.approx(expected["mAP"], abs=1e-6)
        ours = {name: result.per_class[names[name]] for name in expected["AP"]}
        assert ours == pytest.approx(expected["AP"], abs=1e-6)
        assert len(result.per_class) == len(expected["AP"])
        for entry in [*objects, *detections]:
            entry["boxes"][:, 2:] -= 1
        without = B.mean_average_precision(detections, objects).mean
        assert without == pytest.approx(expected["mAP_without_plus1"], abs=1e-6)


def test_ground_modules_do_not_load_torchvision_or_matplotlib():
    code = (
        "import sys, course.boxes, course.windows, course.upsampling, course.crf;"
        "print([name for name in ('torchvision', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
