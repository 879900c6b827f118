"""Where particles are likely on a frame: the network, the candidates, the estimate that a sample takes."""
