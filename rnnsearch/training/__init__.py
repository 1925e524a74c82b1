"""One trial: the training run, the engines that train it, and the checks that they agree."""
