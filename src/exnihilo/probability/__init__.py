"""Mathematics on tensors: distributions, likelihoods, divergences, paths, solvers, chains, bijections."""
