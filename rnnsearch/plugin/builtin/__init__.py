"""What comes with the core: the heads that counting, solving and token tasks rely on."""
