import subprocess
import sys

import pytest

from course import models


@pytest.mark.parametrize("name", models.__all__)
def test_every_public_name_loads(name):
    assert getattr(models, name).__name__ == name
    assert name in dir(models)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match=r"no attribute 'Unet'.*'UNet'"):
        models.Unet


def test_import_loads_no_model():
    code = (
        "import sys, course.models; assert not {'torch', 'course.models.unet'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
