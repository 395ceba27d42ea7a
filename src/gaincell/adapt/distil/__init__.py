"""End-to-end training: its loop, what it learns from, what learns, and the stage that it is."""
