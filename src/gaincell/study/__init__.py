"""What several rooms do together, step by step and resumable: the demo, a report's measurements and its sources."""
