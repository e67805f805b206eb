"""Elastic deformation: identity, shifts, mirrored borders, labels, and what U-Net's paper says."""

import numpy as np
import pytest
import torch

from course.data import cells
from course.data.elastic import displacements, elastic


def sample(h=12, w=17):
    return {
        "image": torch.rand(2, h, w),
        "mask": torch.randint(0, 3, (h, w)),
        "weights": torch.rand(h, w, dtype=torch.float64),
        "index": torch.tensor(7),
    }


def test_no_displacement_changes_nothing():
    one = sample()
    same = elastic(one, torch.zeros(2, 12, 17))
    assert same.keys() == one.keys()
    assert all(torch.allclose(same[name], one[name], atol=1e-5) for name in ("image", "weights"))
    assert torch.equal(same["mask"], one["mask"])
    assert same["index"] == 7


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, -2), (-4, 5)])
def test_a_whole_displacement_shifts_and_mirrors_the_border(right, down):
    one = sample()
    field = torch.tensor([right, down]).float().view(2, 1, 1).expand(2, 12, 17)
    warped = elastic(one, field)
    rows = np.pad(range(12), 9, "symmetric")[9 + down :][:12]
    columns = np.pad(range(17), 9, "symmetric")[9 + right :][:17]
    assert torch.equal(warped["mask"], one["mask"][rows][:, columns])
    torch.testing.assert_close(
        warped["image"], one["image"][:, rows][:, :, columns], atol=1e-4, rtol=0
    )


def test_image_and_labels_move_together_and_no_label_is_invented():
    scene = cells(1, size=96)[0]
    both = {
        "image": scene["mask"][None].float(),
        "mask": scene["mask"],
        "large": scene["instances"],
    }
    warped = elastic(both, displacements((96, 96)))
    agree = (warped["image"][0].round().long() == warped["mask"]).float().mean()
    assert agree > 0.99
    assert not torch.equal(warped["mask"], both["mask"])
    assert set(warped["large"].unique().tolist()) <= set(both["large"].unique().tolist())
    assert warped["mask"].dtype == torch.int64


def test_large_labels_stay_exact():
    labels = torch.tensor([[2**40 + 1, 2**40 + 3]])
    warped = elastic({"image": torch.zeros(1, 1, 2), "mask": labels}, torch.zeros(2, 1, 2))
    assert torch.equal(warped["mask"], labels)


def test_nodes_have_the_spread_of_the_paper_and_the_field_is_smooth():
    fields = torch.stack([displacements((101, 101)) for _ in range(300)])
    nodes = fields[..., ::50, ::50]  # with align_corners, nodes lie on rows and columns 0, 50, 100
    assert nodes.std().item() == pytest.approx(10, rel=0.05)
    assert nodes.mean().abs() < 0.5
    steps = fields.diff(dim=-1).abs()
    assert steps.max() < 3  # neighbours stay neighbours


def test_the_generator_decides():
    first, again = (displacements((9, 9), generator=torch.Generator().manual_seed(3)) for _ in "ab")
    assert torch.equal(first, again)
    torch.manual_seed(1)
    one = displacements((9, 9))
    torch.manual_seed(1)
    assert torch.equal(displacements((9, 9)), one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hw": (0, 5)}, "sides >= 1"),
        ({"hw": (5, 5), "grid": 1}, "grid >= 2"),
        ({"hw": (5, 5), "sigma": -1.0}, "sigma >= 0"),
        ({"hw": (5, 5), "sigma": float("nan")}, "sigma >= 0"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        displacements(**options)


def test_a_field_of_another_size_and_boxes_are_refused():
    with pytest.raises(ValueError, match=r"expected a field of shape \(2, 12, 17\)"):
        elastic(sample(), torch.zeros(2, 17, 12))
    with pytest.raises(ValueError, match="boxes cannot be warped"):
        elastic(sample() | {"boxes": torch.zeros(1, 4)}, torch.zeros(2, 12, 17))
