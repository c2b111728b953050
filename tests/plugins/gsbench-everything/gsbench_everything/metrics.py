"""The metric."""


def error(render, truth):
    return float((render.clamp(0.0, 1.0) - truth.float() / 255.0).abs().mean())
