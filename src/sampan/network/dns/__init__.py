"""The embedded DNS server: a process of its own, with imports light enough to start in 40 ms."""
