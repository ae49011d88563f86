"""ResNet-50 made 3-D in two ways that papers compare themselves with: I3D and C3D; plain networks."""

from __future__ import annotations

from typing import Any

from vidrepro.models.backbones.resnet3d import ResNet3d, options_3d
from vidrepro.models.declared_options import Option, is_positive_integer

DEPTHS = (3, 4, 6, 3)
# I3D: temporal length of the bottlenecks' first convolutions, block by block
I3D_TIMES = ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))
I3D_STEM = 5

I3D_OPTIONS: dict[str, Option] = {
    **options_3d(stem_time=I3D_STEM),
    "last_stride": Option(
        2,
        lambda value: is_positive_integer(value) and value <= 2,
        "1, 2",
        "stride of the last stage over height and width; 1 keeps 14x14 of 224x224, as Wang & Gupta 2018 do",
    ),
}
C3D_OPTIONS = options_3d()


def i3d_resnet50(**options: Any) -> ResNet3d:
    """The inflated ResNet-50 of Non-local Networks (Wang et al. 2018) and of Space-Time Region Graphs.

    Source: facebookresearch/video-nonlocal-net, `resnet_video.py` (arc 2): a 5x7x7 stem, every second bottleneck
    beginning with 3x1x1 (all in the first stage, the middle one in the last), no temporal stride but a maximum over
    pairs of frames behind the first stage. The last stage strides there, as in SlowFast's `I3D_8x8_R50`. The I3D of
    "Videos as Space-Time Region Graphs" (Wang & Gupta 2018) leaves that stride out, as joaanna/something_else
    (`resnet3d_xl.py`), which shares an author, builds it: ``last_stride=1``. The stem's max pooling is padded as in
    SlowFast and torchvision's ResNet, unlike in the other two.
    """
    return ResNet3d([[(time, 1) for time in stage] for stage in I3D_TIMES], stem_time=I3D_STEM, time_pool=2, **options)


def c3d_resnet50(**options: Any) -> ResNet3d:
    """ResNet-50 with C3D's convolutions (Tran et al. 2015): each of its 3x3 convolutions is 3x3x3, as long as the clip.

    Our own reading: papers that name a C3D of ResNet-50 (AIA, GST) do not give its layers. The stem is 1x7x7 and no
    frame is skipped or pooled, as in GST's released network (chenxuluo/GST-video), which they compare it with.
    """
    return ResNet3d([[(1, 3)] * depth for depth in DEPTHS], **options)


def c3d_micro(**options: Any) -> ResNet3d:
    """`c3d_resnet50` for short clips of small frames on a CPU: one bottleneck a stage."""
    return ResNet3d([[(1, 3)]] * len(DEPTHS), **options)
