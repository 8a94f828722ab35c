"""The size of a sample's picture: as its label says, else from the file's header, else from its pixels."""

from edgecv.data.picture_files import picture_size
from edgecv.data.samples import ArraySource, FileSource, Sample

__all__ = ["sample_size"]


def sample_size(sample: Sample) -> tuple[int, int]:
    """Return ``(height, width)`` of a sample's picture in pixels, upright.

    Raises:
        PictureError: It is looked at, and cannot be read.
    """
    if sample.size is not None:
        return sample.size
    if isinstance(sample.picture, FileSource):
        return picture_size(sample.picture.path)
    if isinstance(sample.picture, ArraySource):
        return sample.picture.pixels.shape[0], sample.picture.pixels.shape[1]
    picture = sample.picture.read()
    return picture.height, picture.width
