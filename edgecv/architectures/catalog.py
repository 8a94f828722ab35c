"""What edgecv knows about each of its networks, as data. Importing it imports no framework."""

from dataclasses import replace

from edgecv.architecture import Architecture
from edgecv.decoders import Ssd, YoloV3
from edgecv.preprocess import STYLES, Fit, Preprocess

__all__ = [
    "ALEXNET",
    "DENSENET121",
    "EFFICIENTNET_B0",
    "EFFICIENTNET_LITE0",
    "EFFICIENTNET_LITE1",
    "EFFICIENTNET_LITE2",
    "FASHION_CNN",
    "FCN8S",
    "FCN8S_DILATED",
    "FCN8S_MOBILENET_V2",
    "FCN8S_MOBILENET_V2_DILATED",
    "FCN16S",
    "FCN16S_DILATED",
    "FCN16S_MOBILENET_V2",
    "FCN16S_MOBILENET_V2_DILATED",
    "FCN32S",
    "FCN32S_DILATED",
    "FCN32S_MOBILENET_V2",
    "FCN32S_MOBILENET_V2_DILATED",
    "GOOGLENET",
    "INCEPTION_V3",
    "INCEPTION_V4",
    "LENET5",
    "LENET5_ORIGINAL",
    "MOBILENET",
    "MOBILENET_V2",
    "RESNET18",
    "RESNET34",
    "RESNET50",
    "RESNET101",
    "RESNET152",
    "SELFIE_SEGMENTATION",
    "SE_GOOGLENET",
    "SE_RESNET50",
    "SSD_MOBILENET_V2",
    "SSD_TINY",
    "VGG16",
    "VGG19",
    "XCEPTION",
    "YOLO_V3",
    "YOLO_V3_TINY",
    "ZFNET",
]

_PUBLISHED = ("imagenet", "random")
# ImageNet's evaluation habit: the short side to 256, the centre 224 of it.
_CENTRE = Fit(mode="crop", fraction=0.875)
_CAFFE = replace(STYLES["caffe"], fit=_CENTRE)
_TF = replace(STYLES["tf"], fit=_CENTRE)
_TORCH = replace(STYLES["torch"], fit=_CENTRE)
# RGB less ImageNet's mean, not divided: the habit of the networks before BatchNorm.
_MEAN = Preprocess(style="mean", mean=(123.68, 116.779, 103.939), fit=_CENTRE)
_UNIT = replace(STYLES["0-1"], fit=Fit(mode="stretch"))
_DARKNET = replace(STYLES["0-1"], fit=Fit(mode="letterbox"))

_RESNET = (
    'He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, '
    "https://arxiv.org/abs/1512.03385, table 1"
)
_SQUEEZE = 'Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks", 2017, https://arxiv.org/abs/1709.01507'
_VGG = (
    'Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, '
    "https://arxiv.org/abs/1409.1556, table 1"
)
_EFFICIENTNET = (
    'Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, '
    "https://arxiv.org/abs/1905.11946, table 1"
)


def _lite(size: int) -> Preprocess:
    """Return the scaling of EfficientNet-Lite: the crop leaves out 32 of ``size + 32`` pixels."""
    fit = Fit(mode="crop", fraction=size / (size + 32), filter="bicubic")
    return Preprocess(style="lite", mean=(127.0,), scale=(1 / 128,), fit=fit)


_FCN = (
    'Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2015, '
    "https://arxiv.org/abs/1411.4038, section 4 and figure 3"
)
_DILATED = (
    ', dilated as in Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs", '
    "2015, https://arxiv.org/abs/1412.7062, section 3.1"
)


def _fcn(name: str, *, parameters: int) -> Architecture:
    """Return a segmenter of `edgecv.architectures.fcn_segmentation`."""
    light = "mobilenet_v2" in name
    backbone = ", on MobileNetV2, https://arxiv.org/abs/1801.04381" if light else ""
    return Architecture(
        name=name,
        builder=f"edgecv.architectures.fcn_segmentation:{name}",
        input_shape=(320, 320, 3),
        task="segmentation",
        classes=21,
        parameters=parameters,
        reference=f"{_FCN}{backbone}{_DILATED if name.endswith('_dilated') else ''}",
        preprocess=replace(STYLES["tf" if light else "caffe"], fit=Fit(mode="letterbox")),
        labels="voc",
        weights=_PUBLISHED,
        heads=("score_*", "upscore_*", "logits"),
    )


ALEXNET = Architecture(
    name="alexnet",
    builder="edgecv.architectures.alexnet:alexnet",
    input_shape=(227, 227, 3),
    parameters=60_965_224,
    reference=(
        'Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012, '
        "https://papers.nips.cc/paper/4824, figure 2"
    ),
    # 227 of 256.
    preprocess=replace(_MEAN, fit=Fit(mode="crop", fraction=227 / 256)),
    labels="imagenet",
    minimum=67,
)
DENSENET121 = Architecture(
    name="densenet121",
    builder="edgecv.architectures.keras_zoo:densenet121",
    input_shape=(224, 224, 3),
    parameters=8_062_504,
    reference=(
        'Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", 2016, '
        "https://arxiv.org/abs/1608.06993, table 1"
    ),
    preprocess=_TORCH,
    labels="imagenet",
    weights=_PUBLISHED,
)
EFFICIENTNET_B0 = Architecture(
    name="efficientnet_b0",
    builder="edgecv.architectures.keras_zoo:efficientnet_b0",
    input_shape=(224, 224, 3),
    parameters=5_330_571,
    reference=_EFFICIENTNET,
    # The network scales its input itself; the paper's crop is 224 of 256, bicubic.
    preprocess=replace(STYLES["none"], fit=Fit(mode="crop", fraction=0.875, filter="bicubic")),
    labels="imagenet",
    weights=_PUBLISHED,
)
EFFICIENTNET_LITE0 = Architecture(
    name="efficientnet_lite0",
    builder="edgecv.architectures.efficientnet_lite:efficientnet_lite0",
    input_shape=(224, 224, 3),
    parameters=4_694_024,
    reference=_EFFICIENTNET,
    preprocess=_lite(224),
    labels="imagenet",
    weights=_PUBLISHED,
)
EFFICIENTNET_LITE1 = Architecture(
    name="efficientnet_lite1",
    builder="edgecv.architectures.efficientnet_lite:efficientnet_lite1",
    input_shape=(240, 240, 3),
    parameters=5_470_344,
    reference=_EFFICIENTNET,
    preprocess=_lite(240),
    labels="imagenet",
    weights=_PUBLISHED,
)
EFFICIENTNET_LITE2 = Architecture(
    name="efficientnet_lite2",
    builder="edgecv.architectures.efficientnet_lite:efficientnet_lite2",
    input_shape=(260, 260, 3),
    parameters=6_150_168,
    reference=_EFFICIENTNET,
    preprocess=_lite(260),
    labels="imagenet",
    weights=_PUBLISHED,
)
FASHION_CNN = Architecture(
    name="fashion_cnn",
    builder="edgecv.architectures.fashion:fashion_cnn",
    input_shape=(28, 28, 1),
    classes=10,
    parameters=1_413_834,
    reference=(
        'Géron, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 3rd edition, 2022, '
        'chapter 14, section "Implementing Pooling Layers with Keras"'
    ),
    preprocess=_UNIT,
    minimum=8,
)
FCN8S = _fcn("fcn8s", parameters=134_489_759)
FCN8S_DILATED = _fcn("fcn8s_dilated", parameters=134_482_703)
FCN8S_MOBILENET_V2 = _fcn("fcn8s_mobilenet_v2", parameters=2_428_063)
FCN8S_MOBILENET_V2_DILATED = _fcn("fcn8s_mobilenet_v2_dilated", parameters=2_421_007)
FCN16S = _fcn("fcn16s", parameters=134_815_994)
FCN16S_DILATED = _fcn("fcn16s_dilated", parameters=134_808_938)
FCN16S_MOBILENET_V2 = _fcn("fcn16s_mobilenet_v2", parameters=2_755_642)
FCN16S_MOBILENET_V2_DILATED = _fcn("fcn16s_mobilenet_v2_dilated", parameters=2_748_586)
FCN32S = _fcn("fcn32s", parameters=136_152_917)
FCN32S_DILATED = _fcn("fcn32s_dilated", parameters=134_798_165)
FCN32S_MOBILENET_V2 = _fcn("fcn32s_mobilenet_v2", parameters=4_091_221)
FCN32S_MOBILENET_V2_DILATED = _fcn("fcn32s_mobilenet_v2_dilated", parameters=2_736_469)
GOOGLENET = Architecture(
    name="googlenet",
    builder="edgecv.architectures.googlenet:googlenet",
    input_shape=(224, 224, 3),
    parameters=6_998_552,
    reference=('Szegedy et al., "Going Deeper with Convolutions", 2014, https://arxiv.org/abs/1409.4842, table 1'),
    preprocess=_MEAN,
    labels="imagenet",
    auxiliary_weight=0.3,
)
INCEPTION_V3 = Architecture(
    name="inception_v3",
    builder="edgecv.architectures.keras_zoo:inception_v3",
    input_shape=(299, 299, 3),
    parameters=23_851_784,
    reference=(
        'Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", '
        "2015, https://arxiv.org/abs/1512.00567, table 1"
    ),
    preprocess=_TF,
    labels="imagenet",
    weights=_PUBLISHED,
    minimum=75,
)
INCEPTION_V4 = Architecture(
    name="inception_v4",
    builder="edgecv.architectures.inception_v4:inception_v4",
    input_shape=(299, 299, 3),
    parameters=42_742_984,
    reference=(
        'Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections '
        'on Learning", 2016, https://arxiv.org/abs/1602.07261, figure 9'
    ),
    preprocess=_TF,
    labels="imagenet",
    minimum=75,
)
LENET5 = Architecture(
    name="lenet5",
    builder="edgecv.architectures.lenet:lenet5",
    input_shape=(32, 32, 1),
    classes=10,
    parameters=61_706,
    reference=(
        'LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, '
        "https://doi.org/10.1109/5.726791, figure 2"
    ),
    preprocess=_UNIT,
)
LENET5_ORIGINAL = replace(
    LENET5,
    name="lenet5_original",
    builder="edgecv.architectures.lenet:lenet5_original",
    input_shape=(28, 28, 1),
    parameters=60_840,
    reference=(
        'LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, '
        "https://doi.org/10.1109/5.726791, figure 2, table I and equation 7"
    ),
    minimum=28,
)
MOBILENET = Architecture(
    name="mobilenet",
    builder="edgecv.architectures.keras_zoo:mobilenet",
    input_shape=(224, 224, 3),
    parameters=4_253_864,
    reference=(
        'Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", '
        "2017, https://arxiv.org/abs/1704.04861, table 1"
    ),
    preprocess=_TF,
    labels="imagenet",
    weights=_PUBLISHED,
)
MOBILENET_V2 = Architecture(
    name="mobilenet_v2",
    builder="edgecv.architectures.keras_zoo:mobilenet_v2",
    input_shape=(224, 224, 3),
    parameters=3_538_984,
    reference=(
        'Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, '
        "https://arxiv.org/abs/1801.04381, table 2"
    ),
    preprocess=_TF,
    labels="imagenet",
    weights=_PUBLISHED,
)
RESNET101 = Architecture(
    name="resnet101",
    builder="edgecv.architectures.keras_zoo:resnet101",
    input_shape=(224, 224, 3),
    parameters=44_707_176,
    reference=_RESNET,
    preprocess=_CAFFE,
    labels="imagenet",
    weights=_PUBLISHED,
)
RESNET152 = replace(
    RESNET101, name="resnet152", builder="edgecv.architectures.keras_zoo:resnet152", parameters=60_419_944
)
RESNET18 = Architecture(
    name="resnet18",
    builder="edgecv.architectures.residual:resnet18",
    input_shape=(224, 224, 3),
    parameters=11_699_112,
    reference=_RESNET,
    preprocess=_TORCH,
    labels="imagenet",
)
RESNET34 = replace(RESNET18, name="resnet34", builder="edgecv.architectures.residual:resnet34", parameters=21_814_696)
RESNET50 = replace(RESNET101, name="resnet50", builder="edgecv.architectures.keras_zoo:resnet50", parameters=25_636_712)
SELFIE_SEGMENTATION = Architecture(
    name="selfie_segmentation",
    builder="edgecv.architectures.selfie_segmentation:selfie_segmentation",
    input_shape=(256, 256, 3),
    task="segmentation",
    classes=2,
    parameters=106_401,
    reference=(
        "MediaPipe Selfie Segmentation, general model, "
        "https://google.github.io/mediapipe/solutions/selfie_segmentation; its encoder with more channels: Howard et "
        'al., "Searching for MobileNetV3", 2019, https://arxiv.org/abs/1905.02244, table 2 and section 6.4'
    ),
    # As the published graph selfie_segmentation_cpu.pbtxt has it: values in 0…1, and no aspect ratio is kept.
    preprocess=_UNIT,
    labels="selfie",
    weights=("mediapipe", "random"),
    heads=("logits",),
)
SE_GOOGLENET = replace(
    GOOGLENET,
    name="se_googlenet",
    builder="edgecv.architectures.googlenet:se_googlenet",
    parameters=7_478_655,
    reference=_SQUEEZE + ", figure 2",
)
SE_RESNET50 = replace(
    RESNET18,
    name="se_resnet50",
    builder="edgecv.architectures.residual:se_resnet50",
    parameters=28_141_144,
    reference=_SQUEEZE + ", table 1",
)
SSD_MOBILENET_V2 = Architecture(
    name="ssd_mobilenet_v2",
    builder="edgecv.architectures.ssd:ssd_mobilenet_v2",
    input_shape=(300, 300, 3),
    task="detection",
    classes=23,
    parameters=4_951_996,
    reference=(
        'Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg, "SSD: Single Shot MultiBox Detector", 2015, '
        "https://arxiv.org/abs/1512.02325, section 2, on MobileNetV2, https://arxiv.org/abs/1801.04381, section 6.2"
    ),
    preprocess=replace(STYLES["tf"], fit=Fit(mode="stretch")),
    # The options of MediaPipe Objectron's SsdAnchorsCalculator and TensorsToDetectionsCalculator, which has the
    # published weights; 0.3333 is how they write a third.
    decoder=Ssd(
        strides=(16, 32, 64, 128, 256, 512),
        min_scale=0.2,
        max_scale=0.95,
        aspect_ratios=(1.0, 2.0, 0.5, 3.0, 0.3333),
        interpolated_aspect_ratio=1.0,
        reduce_lowest_layer=True,
        variances=(0.1, 0.1, 0.2, 0.2),
        order="yxhw",
        activation="sigmoid",
        background=True,
    ),
    labels="everyday",
    weights=("openimages", "random"),
    heads=("map*_box_conv", "map*_class_conv"),
)
SSD_TINY = Architecture(
    name="ssd_tiny",
    builder="edgecv.architectures.ssd:ssd_tiny",
    input_shape=(160, 160, 3),
    task="detection",
    classes=10,
    parameters=208_568,
    reference=(
        'edgecv; the parts are those of Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg, "SSD: Single Shot MultiBox '
        'Detector", 2015, https://arxiv.org/abs/1512.02325, section 2.1'
    ),
    preprocess=replace(STYLES["tf"], fit=Fit(mode="stretch")),
    decoder=Ssd(
        strides=(8, 16, 32, 64),
        scales=(0.1, 0.2, 0.4, 0.75),
        aspect_ratios=(1.0, 2.0, 0.5, 3.0, 0.3333),
        order="xywh",
        activation="softmax",
    ),
    labels="digits",
    weights=("digits", "random"),
    heads=("map*_box_conv", "map*_class_conv"),
    transfers=False,  # ten digits in grey are no start for photos
)
VGG16 = Architecture(
    name="vgg16",
    builder="edgecv.architectures.keras_zoo:vgg16",
    input_shape=(224, 224, 3),
    parameters=138_357_544,
    reference=_VGG,
    preprocess=_CAFFE,
    labels="imagenet",
    weights=_PUBLISHED,
)
VGG19 = replace(VGG16, name="vgg19", builder="edgecv.architectures.keras_zoo:vgg19", parameters=143_667_240)
XCEPTION = Architecture(
    name="xception",
    builder="edgecv.architectures.keras_zoo:xception",
    input_shape=(299, 299, 3),
    parameters=22_910_480,
    reference=(
        'Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2016, '
        "https://arxiv.org/abs/1610.02357, figure 5"
    ),
    preprocess=_TF,
    labels="imagenet",
    weights=_PUBLISHED,
    minimum=71,
)
YOLO_V3 = Architecture(
    name="yolo_v3",
    builder="edgecv.architectures.yolo:yolo_v3",
    input_shape=(416, 416, 3),
    task="detection",
    classes=80,
    parameters=62_001_757,
    reference=(
        'Redmon, Farhadi, "YOLOv3: An Incremental Improvement", 2018, https://arxiv.org/abs/1804.02767, '
        "section 2 and table 1"
    ),
    preprocess=_DARKNET,
    # Section 2.3 of the paper and the keys "anchors" and "mask" of Darknet's yolov3.cfg; strides 32, 16, 8.
    decoder=YoloV3(
        anchors=(
            ((116, 90), (156, 198), (373, 326)),
            ((30, 61), (62, 45), (59, 119)),
            ((10, 13), (16, 30), (33, 23)),
        )
    ),
    labels="coco",
    heads=("head*_output",),
)
YOLO_V3_TINY = replace(
    YOLO_V3,
    name="yolo_v3_tiny",
    builder="edgecv.architectures.yolo:yolo_v3_tiny",
    parameters=8_858_734,
    reference=(
        'Redmon, Farhadi, "YOLOv3: An Incremental Improvement", 2018, https://arxiv.org/abs/1804.02767; '
        "the network is that of Darknet's yolov3-tiny.cfg"
    ),
    # The keys "anchors" and "mask" (3,4,5 at stride 32, then 0,1,2 at stride 16) of yolov3-tiny.cfg.
    decoder=YoloV3(
        anchors=(
            ((81, 82), (135, 169), (344, 319)),
            ((10, 14), (23, 27), (37, 58)),
        )
    ),
)
ZFNET = Architecture(
    name="zfnet",
    builder="edgecv.architectures.alexnet:zfnet",
    input_shape=(224, 224, 3),
    parameters=62_357_608,
    reference=(
        'Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", 2013, '
        "https://arxiv.org/abs/1311.2901, figure 3"
    ),
    preprocess=_MEAN,
    labels="imagenet",
    minimum=53,
)
