"""Papers that are a whole network around a backbone, one a file; and the pieces of sparse spatial attention."""

from vidrepro.models.networks.response_maps import class_response_maps, normalise_maps, response_peaks
from vidrepro.models.networks.saliency import resample, saliency_grid
from vidrepro.models.networks.sparse_attention import gaussian_saliency, split_peaks

__all__ = [
    "class_response_maps",
    "gaussian_saliency",
    "normalise_maps",
    "resample",
    "response_peaks",
    "saliency_grid",
    "split_peaks",
]
