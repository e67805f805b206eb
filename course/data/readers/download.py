"""Fetch a data set, check it, and put it where its reader looks for it.

The archives come from the address of their authors, or from your own copy of them: a class of
thirty should not fetch two gigabytes thirty times. Where the authors publish no checksum, none is
invented: you pass the SHA-256 of the archive that you trust.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from course.data.readers.sources import SOURCES, Archive, Source, data_root

__all__ = ["download"]


def download(
    name: str,
    root: str | Path | None = None,
    *,
    sha256: str | tuple[str, ...] | None = None,
    url: str | tuple[str, ...] | None = None,
) -> Path:
    """Fetch a data set, check it, and unpack it below the root; what is there already is kept.

    Args:
        name: one of `SOURCES`: "isbi2012", "dsb2018", "camvid", "voc2012", "voc2007", "pets",
            "pennfudan" or "bccd".
        root: the folder of all data sets; `None` takes `COURSE_DATA`.
        sha256: checksum of each archive; needed where the authors publish none.
        url: your own address of each archive, such as a copy in your network.

    Returns:
        The folder of the set.

    Raises:
        ValueError: the name is unknown, a checksum is missing, or a file does not match its
            checksum (the file is then removed).
        OSError: the address cannot be reached.

    Example:
        >>> download("pennfudan", ".")
        Traceback (most recent call last):
        ValueError: no checksum is published for https://www.cis.upenn.edu/...
    """
    if name not in SOURCES or not SOURCES[name].archives:
        known = ", ".join(k for k, source in SOURCES.items() if source.archives)
        raise ValueError(f"expected the name of a data set ({known}); got {name!r}")
    source, top = SOURCES[name], data_root(root)
    urls = _per_archive(url, source, "url")
    hashes = _per_archive(sha256, source, "sha256")
    for archive, address, sha in zip(source.archives, urls, hashes, strict=True):
        if not (top / archive.target).is_dir():
            _fetch(archive, address or archive.url, f"sha256:{sha}" if sha else None, top)
    return top / source.folder


def _per_archive(
    given: str | tuple[str, ...] | None, source: Source, what: str
) -> tuple[str | None, ...]:
    n = len(source.archives)
    values = (None,) * n if given is None else (given,) if isinstance(given, str) else given
    if len(values) != n:
        raise ValueError(f"expected {n} values of {what} for {source.title}; got {len(values)}")
    return values


def _fetch(archive: Archive, url: str, sha256: str | None, top: Path) -> None:
    """Download into a temporary folder beside the target, so that nothing half-done stays."""
    import pooch

    expected = sha256 or (archive.md5 and f"md5:{archive.md5}")
    if not expected:
        raise ValueError(
            f"no checksum is published for {url}; pass sha256= of the archive that you trust. "
            "To learn it from a copy you have checked: sha256sum FILE"
        )
    with tempfile.TemporaryDirectory(dir=top, prefix=".download-") as scratch:
        name = url.rsplit("/", 1)[-1]
        try:
            file = pooch.retrieve(url, expected, name, scratch, progressbar=False)
        except ValueError as error:
            raise ValueError(
                f"the file {name} from {url} is damaged or another version; expected {expected}. "
                f"It was removed. ({error})"
            ) from error
        unpacked = Path(scratch) / "unpacked"
        _unpack(Path(file), unpacked)
        found = sorted(unpacked.glob(archive.inside)) if archive.inside else [unpacked]
        if len(found) != 1 or not found[0].is_dir():
            raise ValueError(
                f"expected the folder {archive.inside} in {name} from {url}; "
                f"it holds {sorted(p.name for p in unpacked.iterdir())}"
            )
        target = top / archive.target
        target.parent.mkdir(parents=True, exist_ok=True)
        found[0].rename(target)


def _unpack(file: Path, folder: Path) -> None:
    """Unpack a zip or tar; names that lead out of the folder are refused."""
    import tarfile
    import zipfile

    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)  # drops absolute names and ".." by itself
    elif tarfile.is_tarfile(file):
        with tarfile.open(file) as archive:
            # Python 3.11.0 to 3.11.3 have no filter; the checksum vouches for the archive there.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder)
    else:
        raise ValueError(f"expected a zip or tar archive; {file.name} is neither")
