"""What the benchmarks of durability share: the machine, the figures, the CPU, the files they work on."""
