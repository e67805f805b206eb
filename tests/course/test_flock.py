"""The drawn flock: its answers belong together, at any size."""

import pytest
import torch

from course.lectures.flock import CLASSES, flock


@pytest.mark.parametrize("size", [(180, 240), (45, 61), (96, 96)])
def test_labels_instances_and_boxes_agree(size: tuple[int, int]) -> None:
    picture = flock(*size)
    assert picture.image.shape == (3, *size)
    assert 0 <= picture.image.min() <= picture.image.max() <= 1
    sheep = picture.labels == CLASSES.index("sheep")
    assert torch.equal(sheep, picture.instances > 0)
    for number, box in enumerate(picture.boxes.int().tolist(), 1):
        inside = torch.zeros(size, dtype=torch.bool)
        inside[box[1] : box[3], box[0] : box[2]] = True
        rows, columns = torch.nonzero(picture.instances == number, as_tuple=True)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == tuple(box)
        assert not ((picture.instances == number) & ~inside).any()


def test_all_classes_and_three_sheep_are_there() -> None:
    picture = flock()
    assert picture.labels.unique().tolist() == list(range(len(CLASSES)))
    assert picture.instances.unique().tolist() == [0, 1, 2, 3]


def test_it_is_the_same_every_time_and_moves_as_told() -> None:
    assert torch.equal(flock().image, flock().image)
    still, moved = flock(), flock(shift=0.1)  # 18 of 180 pixels
    assert torch.equal(moved.boxes - still.boxes, torch.tensor([18.0, 0, 18, 0]).repeat(3, 1))
    differ = moved.instances[:, 18:] != still.instances[:, :-18]
    assert differ.sum() <= 20  # samples that lie on an edge may fall to either side of it


def test_a_picture_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 24 x 24 pixels; got 20 x 80"):
        flock(20, 80)
