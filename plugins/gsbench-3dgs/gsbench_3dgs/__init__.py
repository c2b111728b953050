"""The method 3dgs: plain 3D Gaussian Splatting."""
