"""Operating system facilities: files and CPUs."""
