"""Netlists: our cell or a user's, and the benches that it is simulated in."""
