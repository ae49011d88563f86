"""vidrepro: is a video-action-recognition paper's table true? Prepare, run, count, and print it beside ours."""

__version__ = "0.1.0"
