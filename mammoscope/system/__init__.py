"""What the package needs of the operating system: files and CPUs."""
