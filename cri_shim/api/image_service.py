"""runtime.v1.ImageService."""

from collections.abc import AsyncIterator

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.api import encode
from cri_shim.api.messages import chunks
from cri_shim.context import Context
from cri_shim.images.registry.auth import Auth


class ImageService:
    """Method names are the protocol's."""

    def __init__(self, ctx: Context) -> None:
        self._images = ctx.images
        self._clock = ctx.clock

    async def ListImages(self, request: cri.ListImagesRequest) -> cri.ListImagesResponse:
        return cri.ListImagesResponse(images=self._list(request.filter))

    async def StreamImages(
        self, request: cri.StreamImagesRequest
    ) -> AsyncIterator[cri.StreamImagesResponse]:
        for part in chunks(self._list(request.filter)):
            yield cri.StreamImagesResponse(images=part)

    def _list(self, filter_: cri.ImageFilter) -> list[cri.Image]:
        wanted = filter_.image.image
        found = self._images.get(wanted) if wanted else None
        images = [i for i in [found] if i] if wanted else self._images.list()
        return [encode.image_message(i) for i in images]

    async def ImageStatus(self, request: cri.ImageStatusRequest) -> cri.ImageStatusResponse:
        """A missing image is an empty response, not an error: kubelet asks so before each pull."""
        image = self._images.get(_reference(request.image))
        return cri.ImageStatusResponse(image=encode.image_message(image) if image else None)

    async def PullImage(self, request: cri.PullImageRequest) -> cri.PullImageResponse:
        auth = Auth.from_cri(request.auth) if request.HasField("auth") else None
        image = await self._images.pull(_reference(request.image), auth)
        return cri.PullImageResponse(image_ref=image.id)

    async def RemoveImage(self, request: cri.RemoveImageRequest) -> cri.RemoveImageResponse:
        await self._images.remove(_reference(request.image))
        return cri.RemoveImageResponse()

    async def ImageFsInfo(self, request: cri.ImageFsInfoRequest) -> cri.ImageFsInfoResponse:
        used, inodes = self._images.usage()
        usage = cri.FilesystemUsage(
            timestamp=self._clock(),
            fs_id=cri.FilesystemIdentifier(mountpoint=str(self._images.mountpoint)),
            used_bytes=cri.UInt64Value(value=used),
            inodes_used=cri.UInt64Value(value=inodes),
        )
        # Both lists: kubelet compares them to see whether writable layers lie on another disk than
        # images (KEP-4191). Here they do not.
        return cri.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage])


def _reference(image: cri.ImageSpec) -> str:
    if not image.image:
        raise InvalidArgument("image.image is empty: name an image")
    return image.image
