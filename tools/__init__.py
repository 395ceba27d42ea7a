"""Scripts of the project itself: they make what is packaged, what is tested with, and what pages show."""
