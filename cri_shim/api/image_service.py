"""runtime.v1.ImageService."""

from cri_shim.api import encode
from cri_shim.images.auth import Auth
from cri_shim.images.service import Images
from cri_shim.model.errors import InvalidArgument
from cri_shim.pb import runtime_v1_pb2 as cri


class ImageService:
    """Method names are the protocol's."""

    def __init__(self, images: Images, clock: "object") -> None:
        self._images = images
        self._clock = clock
