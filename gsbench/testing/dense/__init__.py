"""The parts of the dense float64 reference rasterizer, `gsbench.testing.reference`. Per camera:

projection.py    Gaussians -> their images on the screen (`Projection`), and what is culled
blending.py      the same at every pixel, in the order of blending (`Blend`): alpha, transmittance, who is drawn
pixels.py        a Blend -> color, depths, normal, distortion
statistics.py    a Blend -> numbers per Gaussian
derivatives.py   numbers per Gaussian that are derivatives of the image: sensitivity, Fisher information
"""
