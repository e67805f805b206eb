"""Objects read off labels: what a detector learns from a set that draws objects without boxes."""

import torch
from torch import Tensor

__all__ = ["objects_of"]


def objects_of(sample: dict[str, Tensor], classes: int) -> tuple[Tensor, Tensor]:
    """Boxes (M, 4) and labels (M,) of a sample: its own, or read off instances or mask.

    Without instances, every connected part of a class counts as one object. Class 0 and ignored
    pixels make none.

    >>> mask = torch.tensor([[0, 1, 0, 2], [0, 1, 0, 2]])
    >>> objects_of({"image": torch.zeros(3, 2, 4), "mask": mask}, 3)
    (tensor([[1., 0., 2., 2.],
            [3., 0., 4., 2.]]), tensor([1, 2]))
    """
    if "boxes" in sample:
        return sample["boxes"], sample["labels"]
    from scipy import ndimage

    mask = sample["mask"].numpy()
    if "instances" in sample:
        parts = [(None, sample["instances"].numpy())]
    else:
        parts = [(k, ndimage.label(mask == k)[0]) for k in range(1, classes)]  # type: ignore[index]
    boxes, labels = [], []
    for label, numbers in parts:
        for number, place in enumerate(ndimage.find_objects(numbers), start=1):
            if place is None:
                continue
            if label is None:
                values = mask[place][numbers[place] == number]
                found = int(torch.from_numpy(values).mode().values)
                if not 1 <= found < classes:
                    continue
            rows, columns = place
            boxes.append((columns.start, rows.start, columns.stop, rows.stop))
            labels.append(found if label is None else label)
    return (
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
    )
