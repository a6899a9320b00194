"""Contract suites: what a fake and the real thing must both do. Subclass and provide fixtures."""
