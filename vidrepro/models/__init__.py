"""Networks by name: `build_model` for a whole classifier, `build_mechanism` for one module alone."""

from vidrepro.models.build import (
    backbone_names,
    build_from_config,
    build_model,
    check_config,
    mechanism_names,
    module_names,
)
from vidrepro.models.classifier import VideoClassifier
from vidrepro.models.load_report import LoadReport
from vidrepro.models.mechanisms import build_mechanism, takes_option

__all__ = [
    "LoadReport",
    "VideoClassifier",
    "backbone_names",
    "build_from_config",
    "build_mechanism",
    "build_model",
    "check_config",
    "mechanism_names",
    "module_names",
    "takes_option",
]
