"""The methods 3dgs and 3dgs-mcmc: plain 3D Gaussian Splatting, and as Markov Chain Monte Carlo."""
